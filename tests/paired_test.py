"""Trials in pairs: who diverged is counted and loses, and an interval is Student's."""

import json
import math

import numpy as np
import pytest

from launch import paired
from launch.plan import Folder, Plan
from launch.report import compare
from launch.run import Outcome
from launch.study import Claim
from launch.trial import Desk, Run
from unroll.errors import BadInput


def test_a_difference_and_its_interval():
  """By the formulas of a paired t-test: 4 degrees of freedom, t = 2.776."""
  own = {0: 1.0, 1: 2.0, 2: 2.5, 3: 4.0, 4: 1.5}
  other = {0: 1.5, 1: 2.1, 2: 3.5, 3: 3.9, 4: 2.0, 9: 0.0}
  changes = np.array([own[seed] - other[seed] for seed in own])
  found = paired.compared(own, other)
  assert found.difference == pytest.approx(changes.mean())
  assert found.half == pytest.approx(2.776 * changes.std(ddof=1) / math.sqrt(5))
  assert (found.seeds, found.pairs, found.better, found.diverged) == (5, 5, 4, 0)
  assert found.median == 2.0
  more = paired.compared(own, other, maximize=True)
  assert (more.difference, more.half) == pytest.approx((found.difference, found.half))
  assert (more.better, more.median) == (1, 2.0)


def test_who_diverged_counts_and_loses():
  other = {0: 1.0, 1: 2.0, 2: None, 3: 1.0}
  found = paired.compared({0: None, 1: 1.5, 2: 3.0, 3: None}, other)
  assert (found.seeds, found.diverged, found.pairs, found.better) == (4, 2, 1, 2)
  assert found.difference == -0.5 and found.half is None
  assert found.median == math.inf
  neither = paired.compared({0: None}, {0: None})
  assert neither == (1, 1, math.inf, 0, None, None, 0)


def trial(slot: int, values: dict, losses: list) -> dict:
  return {
    "slot": slot,
    "params": values,
    "runs": [
      {"seed": seed, "summary": loss and {"val/loss": loss}, "error": error}
      for seed, loss in enumerate(losses)
      for error in [None if loss else "a loss that is not finite"]
    ],
  }


RESULT = {
  "objective": ["val/loss"],
  "directions": ["minimize"],
  "trials": [
    trial(0, {"clip_norm": "0", "cell": "rnn"}, [2.0, None, 3.0]),
    trial(1, {"clip_norm": "0", "cell": "lstm"}, [2.0, 2.0, 2.0]),
    trial(2, {"clip_norm": "1", "cell": "rnn"}, [1.0, 1.0, 1.5]),
    trial(3, {"clip_norm": "1", "cell": "lstm"}, [1.0, 1.0, 1.0]),
    {"slot": 4, "params": {"clip_norm": "9", "cell": "rnn"}},  # nothing is known yet
  ],
}


def test_a_table_for_each_choice_of_the_other_flags(tmp_path, capsys):
  (tmp_path / "trials.json").write_text(json.dumps(RESULT))
  compare(tmp_path, ["clip_norm"])
  rnn, lstm = capsys.readouterr().out.split("val/loss, ")[1:]
  assert "--cell=rnn" in rnn and "--cell=lstm" in lstm
  assert "1 of 3" in rnn and "3 of 3" in rnn and "-1.25" in rnn
  assert "0 of 3" in lstm and "3 of 3" in lstm and "-1" in lstm


def test_what_was_not_swept_is_refused(tmp_path):
  with pytest.raises(BadInput, match=r"--compare=layers is not .* clip_norm, cell"):
    list(paired.tables(RESULT, ["layers"]))
  with pytest.raises(BadInput, match=r"no readable trials\.json"):
    compare(tmp_path, ["cell"])


class Told:
  """A study that keeps what it is told of failures."""

  def failed(self, claim, error, runs):
    self.error, self.runs = error, runs


def test_every_seed_that_ran_together_is_noted(tmp_path):
  """Also those after one that diverged, which the trial fails by."""
  known = {
    f"{tmp_path}/{seed}": Outcome({"val/loss": 1.0 * seed, "finished": True}, None)
    for seed in range(3)
  }
  known[f"{tmp_path}/1"] = Outcome(None, "not finite")
  claim, study = Claim(0, {}, None), Told()
  runs = [
    Run(claim, {"workdir": f"{tmp_path}/{seed}"}, {"seed": seed}) for seed in range(3)
  ]
  plan = Plan.from_json(
    dict.fromkeys(Plan._fields, "") | {"space": {}, "objective": ["val/loss"]}
  )
  Desk(plan, Folder(tmp_path), study, lambda: False)._try(claim, runs, known)
  assert study.error == "not finite"
  found = paired.by_seed({"runs": study.runs}, "val/loss")
  assert found == {0: 0.0, 1: None, 2: 2.0}
