"""The picture of a run: every kind of run gets one, and what it says is true."""

import json
import re

import numpy as np
import pytest
from matplotlib.text import Text

from unroll.metrics import ACCURACY, NATS, Measure
from unroll.report import curves
from unroll.types import BadInput


def run(steps: int, *, every: int = 0, broken: tuple[int, ...] = ()) -> list[dict]:
  """Made metrics: loss 4/√step, gradient norm step/100, speed 1,000 + step."""
  records: list[dict] = []
  for step in range(1, steps + 1):
    value = None if step in broken else 4 / step**0.5
    norm = None if step in broken else step / 100
    records.append({"step": step, "train/loss": value, "grad_norm": norm})
    records[-1]["learning_rate"] = 0.1 / step
    if every and step % every == 0:
      loss = None if step in broken else 1 + (step / steps - 0.5) ** 2
      records.append({"step": step, "val/loss_streamed": loss})
      records[-1]["val/loss_windowed"] = 2 + step
      records.append({"step": step, "seconds": 1.0, "tokens_per_second": 1000 + step})
  return records


RUNS = {
  "nothing": [],
  "one step": run(1),
  "one step, evaluated": run(1, every=1),
  "no evaluation": run(300),
  "short": run(20, every=5),
  "some not finite": run(400, every=20, broken=(1, 7, 200, 400)),
  "none finite": run(100, every=10, broken=tuple(range(101))),
  "long": run(5000, every=100),
  "only an evaluation": [{"step": 0, "val/loss_streamed": 3.0}],
}


def labels(axes) -> str:
  return "\n".join(axes.get_legend_handles_labels()[1])


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_every_run_has_a_picture(tmp_path, name, clip_norm):
  lines = [json.dumps(record) for record in RUNS[name]]
  (tmp_path / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
  path = curves.curves(tmp_path, clip_norm=clip_norm)
  assert path == tmp_path / "curves.png"
  png = path.read_bytes()
  assert png[:8] == b"\x89PNG\r\n\x1a\n"
  assert [int.from_bytes(png[i : i + 4], "big") for i in (16, 20)] == [1200, 800]


def test_the_labels_tell_the_truth():
  records = run(400, every=20, broken=(7, 200, 399))
  figure = curves.draw(records, title="a run", clip_norm=3.0)
  losses, norms, rates, speeds = figure.axes
  # Step 200 would be the best of the streamed losses, but it is not finite.
  assert "streamed: best 1.002 at step 180" in labels(losses)
  assert "windowed: best 22 at step 20" in labels(losses)
  assert "not finite: 3 of 400 steps" in labels(losses)
  assert "threshold 3: 25% of steps above" in labels(norms)
  assert norms.get_yscale() == "log"
  np.testing.assert_allclose(rates.lines[0].get_ydata()[:2], [0.1, 0.05])
  np.testing.assert_allclose(speeds.lines[0].get_ydata()[:2], [1020, 1040])


def test_a_measure_says_its_unit_and_another_on_the_right():
  axes = curves.draw(run(400), title="a run", measures=(NATS,)).axes[0]
  assert (axes.get_title("left"), axes.get_ylabel()) == ("Loss", "nats")
  (bits,) = axes.child_axes
  assert bits.get_ylabel() == "bits"
  bits.apply_aspect()
  axes.figure.draw_without_rendering()
  np.testing.assert_allclose(bits.get_ylim(), np.array(axes.get_ylim()) / np.log(2))


def test_without_a_measure_nothing_is_said_of_units():
  figure = curves.draw(run(400, every=20), title="a run", clip_norm=3.0)
  assert not figure.axes[0].child_axes and figure.axes[0].get_ylabel() == ""
  said = [text.get_text() for text in figure.findobj(Text)]
  assert "Loss" in said and not re.search("nat|bit|char", " ".join(said).lower())


FALLING = {2: 0.5, 4: 0.125, 6: 0.25}


@pytest.mark.parametrize(
  ("names", "said"),
  [
    (("val/mean_error",), ["validation"]),
    (("val/mean_error_long", "val/mean_error"), ["validation, long"]),
    (
      ("val/mean_error_b", "val/mean_error_a"),
      ["validation, b", "validation, a"],
    ),
  ],
)
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_evaluations_are_found_by_name(names, said, better):
  measure = Measure("mean_error", "MW", better, len)
  records = [
    {"step": step, **{name: 10 * n + value for n, name in enumerate(names)}}
    for step, value in FALLING.items()
  ]
  records += [{"step": 9, "val/other": 0.0}]
  axes = curves.draw(records, title="a run", measures=(measure,)).axes[0]
  assert (axes.get_title("left"), axes.get_ylabel()) == ("Mean error", "MW")
  step, best = (4, 0.125) if better == "lower" else (2, 0.5)
  found = labels(axes).splitlines()  # training, which has nothing, is not among them
  assert found == [
    f"{kind}: best {10 * n + best:.4g} at step {step}" for n, kind in enumerate(said)
  ]
  stars = [line for line in axes.lines if line.get_marker() == "*"]
  assert [star.get_xdata()[0] for star in stars] == [step] * len(said)


@pytest.mark.parametrize("count", range(4))
def test_every_measure_has_a_panel(tmp_path, count):
  measures = [Measure(f"m{i}", "", "higher", len) for i in range(count)]
  records = run(300, every=20)
  for record in records:
    record |= {f"train/m{i}": record["step"] * 2.0**i for i in range(count)}
  figure = curves.draw(records, title="a run", measures=measures)
  titles = [axes.get_title("left") for axes in figure.axes]
  assert titles[:count] == [f"M{i}" for i in range(count)]
  assert titles[count:] == [
    *("Gradient norm before clipping", "Learning rate", "Speed")
  ]
  figure.savefig(tmp_path / "curves.png")
  png = (tmp_path / "curves.png").read_bytes()
  rows = -(-(count + 3) // 2)
  assert int.from_bytes(png[20:24], "big") == 400 * rows


def test_a_fall_does_not_flatten_what_is_to_rise():
  records = [{"step": s, "train/accuracy": 1 - 1 / (s + 1)} for s in range(1, 401)]
  records[250]["train/accuracy"] = -1e6
  axes = curves.draw(records, title="a run", measures=(ACCURACY,)).axes[0]
  low, high = axes.get_ylim()
  assert 0 < low < 0.5 and 0.99 < high < 1.1
  assert "spikes down to -1e+06 are cut off" in [text.get_text() for text in axes.texts]


def test_a_spike_does_not_flatten_the_losses():
  records = run(400)
  records[250]["train/loss"] = 1e6
  axes = curves.draw(records, title="a run").axes[0]
  assert axes.get_ylim()[1] < 5
  assert "spikes up to 1e+06 are cut off" in [text.get_text() for text in axes.texts]


def test_what_stands_beside_a_measure_is_a_line_across():
  """The scale is logarithmic, so that a hundredth of it is to be seen."""
  beside = Measure("loss", "nats", "lower", NATS.of, beside=(1.5, "trivial: 1.5"))
  records = run(400, every=20)
  axes, plain = (
    curves.draw(records, title="", measures=[measure]).axes[0]
    for measure in (beside, NATS)
  )
  assert "trivial: 1.5" in labels(axes)
  lines = [line.get_ydata() for line in axes.lines]
  assert [1.5, 1.5] in [list(line) for line in lines]
  assert (axes.get_yscale(), plain.get_yscale()) == ("log", "linear")
  empty = curves.draw([], title="", measures=[beside]).axes[0]
  assert not labels(empty) and empty.get_yscale() == "linear"


def test_a_directory_that_is_no_run(tmp_path):
  with pytest.raises(BadInput, match=r"no metrics.jsonl: give the `workdir`"):
    curves.curves(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 1200, 1201, 54321])
def test_thinning_keeps_every_extreme(size):
  rng = np.random.default_rng(0)
  steps, values = np.arange(size) + 3, rng.normal(size=size)
  values[5:300:7] = np.nan
  kept, thinned = curves._extremes((steps, values))
  assert len(kept) <= 2 * curves.COLUMNS
  assert np.all(np.diff(kept) > 0)
  np.testing.assert_array_equal(thinned, values[kept - 3])
  if size:
    assert np.nanmax(thinned) == np.nanmax(values)
    assert np.nanmin(thinned) == np.nanmin(values)


def test_moving_median():
  steps = np.arange(8) + 1
  values = np.array([9.0, 1, 2, np.nan, 1e9, 4, 5, 6])
  got, medians = curves._median((steps, values), 3)
  np.testing.assert_array_equal(got, steps)
  expected = [9, 2, 1.5, (2 + 1e9) / 2, (4 + 1e9) / 2, 5, 5, 5.5]
  np.testing.assert_allclose(medians, expected)
