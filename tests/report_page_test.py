"""The page of a run that is still at work, or was killed."""

import json
import re

import pytest

from experiments import report
from unroll.metrics import SHOWN
from unroll.report.page import page


@pytest.fixture
def killed(tmp_path):
  """The folder of a run of which there is no checkpoint yet."""
  flags = {"hidden": [8], "clip_norm": 1.0, "steps": 9, "epochs": None, "seed": 3}
  config = {"experiment": "charlm", "flags": flags, "data": "", "files": {}}
  (tmp_path / "config.json").write_text(
    json.dumps({**config, "versions": {"jax": "1"}})
  )
  lines = [
    {"step": 1, "train/loss": 3.5, "grad_norm": 0.5, "learning_rate": 0.1},
    {"step": 4, "train/loss": 2.5, "grad_norm": 1.5, "learning_rate": 0.1},
    {"step": 4, "seconds": 2.5, "tokens_per_second": 1234.5},
    {"step": 4, "val/loss": 2.0, "val/loss_streamed": 2.0, "val/perplexity": 7.39},
    {"step": 5, "val/loss": 2.25, "val/loss_streamed": 2.25, "val/perplexity": 9.49},
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "metrics.jsonl").write_text(text + '{"step": 6')
  (tmp_path / "sample.txt").write_text("<b>To be")
  return tmp_path


def test_a_killed_run_has_a_page(killed):
  text = report.write(killed).read_text()
  assert (
    "experiments.charlm, not finished" in text and 'http-equiv="refresh' not in text
  )
  for shown in (
    "<b>2.25</b><span>loss, validation",
    "<b>2</b><span>at its best",
    "<b>9.49</b><span>perplexity",
    "<b>1,234</b>",
    "&lt;b&gt;To be",
  ):
    assert shown in text
  repeated = re.search("python -m experiments.charlm(.*?)<", text)
  assert repeated and {*repeated[1].split()} == {"--hidden=8", "--seed=3", "--steps=9"}
  assert "<h2>Parameters" not in text and "<img" in text
  assert 'content="5"' in report.write(killed, every=5).read_text()


MEASURES = [
  dict(zip(SHOWN, ("loss", "nats", "lower", ",.3f", "", True))),
  dict(zip(SHOWN, ("bits_per_char", "bits", "lower", ",.2f", "of each", False))),
]


def test_measures_have_the_units_that_the_run_has_told(killed):
  config = json.loads((killed / "config.json").read_text())
  with (killed / "metrics.jsonl").open("a") as file:
    file.write('\n{"step": 7, "val/loss": 1.75, "val/bits_per_char": 2.125}\n')
  (killed / "config.json").write_text(json.dumps({**config, "measures": MEASURES}))
  text = report.write(killed).read_text()
  assert "1.750" in text and "nats" in text and "2.12" in text


@pytest.mark.parametrize(
  "damaged",
  [1, None, "x", {}, {**MEASURES[0], "form": "%%"}, {**MEASURES[0], "unit": 3}],
)
def test_a_measure_that_is_none_is_passed_over(killed, damaged):
  config = json.loads((killed / "config.json").read_text())
  (killed / "config.json").write_text(json.dumps({**config, "measures": [damaged]}))
  assert "<b>2.25</b><span>loss, validation" in report.write(killed).read_text()


def test_a_run_of_which_nothing_is_known_has_a_page(killed):
  (killed / "metrics.jsonl").unlink()
  config = json.loads((killed / "config.json").read_text())
  (killed / "config.json").write_text(json.dumps({**config, "experiment": "of_mine"}))
  assert "experiments.of_mine" in report.write(killed).read_text()


def test_the_parameters_of_a_run_are_counted(tmp_path):
  shapes = {"cell/w_h": (3, 12), "scale": ()}
  text = page(tmp_path, command="", summary={}, parameters=shapes).read_text()
  assert "cell/w_h</dt><dd>3 by 12 = 36" in text and "a number = 1<" in text
  assert "<dt>all</dt><dd>37<" in text
