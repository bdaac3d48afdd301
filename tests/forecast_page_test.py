"""The page of forecasts, as commands: trained, resumed, evaluated, used on new rows."""

import csv
import io
import json

import numpy as np
import pytest

from tests.commands import run
from unroll.checkpoint import sealed, steps
from unroll.data.series.horizons import Horizon
from unroll.data.series.scaler import Scaler
from unroll.loading import load
from unroll.records import METRICS, read

SMALL = [
  "--cell=rnn",
  "--layers=1",
  "--hidden=8",
  "--window=6",
  "--horizon=3",
  "--batch=8",
]
FILE = ["--csv=days.csv", "--time=day", "--target=y", "--inputs=z", "--gaps=linear"]


def table(days):
  """y is a wave with a hole, z its slope."""
  lines = ["day,y,z"]
  for i in range(days):
    y = "" if i == 17 else f"{10 + 3 * np.sin(i / 3):.6f}"
    day = np.datetime64("2021-01-01") + i
    lines.append(f"{day},{y},{np.cos(i / 3):.6f}")
  return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A run of 30 steps in a folder with the table it learned from."""
  folder = tmp_path_factory.mktemp("forecast")
  (folder / "days.csv").write_text(table(80))
  levels = ["--loss=quantile", "--quantiles=0.1,0.5,0.9", "--calendar"]
  flags = [*FILE, *SMALL, *levels, "--steps=30", "--eval_every=10", "--workdir=run"]
  done = run(folder, "forecast", *flags, "--json")
  assert done.code == 0, done.err
  (folder / "out").write_text(done.out)
  return folder


def refused(done, *said):
  assert done.code == 2, done.out
  for text in said:
    assert text in done.err
  assert done.err.count("\n") == 1


def predicted(folder, *flags):
  done = run(folder, "forecast", "--mode=predict", "--workdir=run", *flags)
  assert done.code == 0, done.err
  return list(csv.reader(io.StringIO(done.out)))


@pytest.mark.slow
def test_a_run_says_how_it_compares_and_has_its_pictures(folder):
  out = (folder / "out").read_text()
  for name in ("model", "naive", "linear, past 6", "MASE of lag 1", "80% interval"):
    assert name in out
  for name in ("forecasts.png", "errors.png", "curves.png", "report.html"):
    assert (folder / "run" / name).is_file()


@pytest.mark.slow
def test_forecasts_begin_after_the_last_row_and_their_quantiles_are_ordered(folder):
  header, *rows = predicted(folder)
  assert header == ["time", "y_q0.1", "y_q0.5", "y_q0.9"]
  assert [row[0] for row in rows] == ["2021-03-22", "2021-03-23", "2021-03-24"]
  levels = np.array([row[1:] for row in rows], float)
  assert (np.diff(levels, axis=1) >= 0).all()
  assert (5 < levels).all()  # in units of y
  assert (levels < 20).all()
  done = run(folder, "forecast", "--mode=predict", "--workdir=run", "--json")
  for step, row in zip(done.json["steps"], rows, strict=True):
    assert step["time"] == row[0]
    assert step["values"] == dict(zip(header[1:], map(float, row[1:])))


@pytest.mark.slow
def test_forecasts_go_on_from_new_rows_with_the_scaler_of_the_training(folder):
  (folder / "same.csv").write_text(table(80))
  (folder / "longer.csv").write_text(table(95))
  assert predicted(folder, "--csv=same.csv") == predicted(folder)
  assert predicted(folder, "--csv=longer.csv")[1][0] == "2021-04-06"
  few = "\n".join([table(1).splitlines()[0], *table(95).splitlines()[-6:]])
  (folder / "few.csv").write_text(few)
  assert predicted(folder, "--csv=few.csv") == predicted(folder, "--csv=longer.csv")


@pytest.mark.slow
def test_a_loaded_run_forecasts_what_the_page_does(folder):
  model = load(folder / "run")
  rows = predicted(folder)[1:]
  scaler = Scaler.from_json(json.loads(model.files["series.json"])["scaler"])
  lines = [line.split(",") for line in table(80).splitlines()[-6:]]
  past = np.array([line[1:] for line in lines], float)
  past = ((past - scaler.mean) / scaler.scale)[:, None].astype(np.float32)
  days = np.datetime64("2021-03-16") + np.arange(9)
  week = (days.astype("datetime64[D]").astype(int) + 3) % 7 / 7
  year = (days - np.datetime64("2021-01-01")).astype(int) / 365.2425
  waves = [f(2 * np.pi * at) for at in (week, year) for f in (np.sin, np.cos)]
  known = np.stack(waves, axis=1)[:, None].astype(np.float32)
  nothing = np.zeros((3, 1, 1), np.float32)
  carry = model.initial_carry(model.params, 1)
  window = Horizon(past, known, nothing, nothing, nothing)
  _, out = model.apply(model.params, carry, window)
  own = np.asarray(out)[:, 0, 0] * scaler.scale[0] + scaler.mean[0]
  np.testing.assert_allclose(own, np.array([r[1:] for r in rows], float), rtol=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_and_is_evaluated(folder):
  flags = [*FILE, *SMALL, "--steps=4", "--eval_every=2", "--workdir=short"]
  assert run(folder, "forecast", *flags).code == 0
  flags[-3] = "--steps=8"
  done = run(folder, "forecast", *flags, "--json")
  assert "resumed short at step 4" in done.err
  found = run(folder, "forecast", "--mode=eval", "--workdir=short", "--json").json
  assert found["val/mse"] == pytest.approx(done.json["best/val/mse"], rel=1e-5)
  assert {"test/loss", "test/mae", "test/mase"} <= found.keys()


def left(run):
  """The log but for the times, and the digests of the newest checkpoint."""
  times = {"seconds", "start_seconds", "values_per_second"}
  rows = [{k: row[k] for k in row.keys() - times} for row in read(run / METRICS)]
  log = [row for row in rows if row.keys() != {"step"}]
  newest = (run / "checkpoints" / str(steps(run / "checkpoints")[-1])).absolute()
  return log, newest.name, sealed.content(newest)["digests"]


@pytest.mark.parametrize(
  "flags",
  [
    ["--cell=gru", "--dropout=0.3", "--ema=0.9"],
    ["--head=feedback", "--forced", "--optimizer=momentum"],
  ],
)
@pytest.mark.slow
def test_two_steps_and_two_more_are_four(tmp_path, flags):
  flags = [
    *SMALL,
    "--series=sine",
    "--eval_every=1",
    "--schedule=plateau:1,0.5",
    *flags,
  ]
  flags += ["--clip_norm=0.1", "--seed=3"]
  for last, name in ((4, "whole"), (2, "cut"), (4, "cut")):
    done = run(tmp_path, "forecast", *flags, f"--steps={last}", f"--workdir={name}")
    assert done.code == 0, done.err
  assert "resumed cut at step 2" in done.err
  log, step, digests = left(tmp_path / "whole")
  assert left(tmp_path / "cut") == (log, step, digests)
  assert step == "4" and sum("train/loss" in row for row in log) == 4
  assert sum("val/mse" in row for row in log) == 4 and digests


@pytest.mark.parametrize(
  "flags",
  [
    ["--head=feedback", "--forced", "--series=sine"],
    ["--model=mlp", "--series=sine", "--loss=mae", "--split=0.8,0.2"],
    ["--model=linear", "--shared", "--csv=two.csv", "--target=a,b"],
    ["--layers=2", "--dropout=0.3", "--remat=every:2", "--series=sine", "--stride=3"],
  ],
)  # fmt: skip
@pytest.mark.slow
def test_every_model_trains(tmp_path, flags):
  rows = [f"{np.sin(i)},{i % 7}" for i in range(60)]
  (tmp_path / "two.csv").write_text("\n".join(["a,b", *rows]))
  done = run(tmp_path, "forecast", *SMALL, "--steps=3", *flags, "--workdir=run")
  assert done.code == 0, done.err
  assert "validation: loss" in done.out


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--forced"], "--forced with --head=direct"),
    (["--remat=sqrt", "--model=mlp"], "--remat=sqrt with --model=mlp"),
    (["--loss=quantile"], "--loss=quantile with --quantiles=none"),
    (["--quantiles=0.9,0.5"], "--quantiles=0.9,0.5: give increasing levels"),
    (["--window=1900"], "--window=1900 before its targets and --horizon=3"),
    (["--series=moon"], "--series=moon: choose one of"),
    (["--lag=1999"], "--lag=1999: choose 1 to"),
    (["--split=0.9,0.2"], "--split=0.9,0.2"),
    (["--csv=none.csv"], "none.csv cannot be read"),
  ],
)
def test_bad_flags_end_in_one_sentence(tmp_path, flags, said):
  refused(run(tmp_path, "forecast", *SMALL, "--series=sine", *flags), said)
