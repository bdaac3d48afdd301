"""A run that asks for Newton's method tries it first, and says how it went."""

import pages_test
import pytest

from experiments import charlm
from experiments.session import agreement
from experiments.session.settings import Settings
from unroll.types import BadInput

SMALL = {"hidden": (4,), "layers": 1, "batch": 2, "embedding": 4}


def settings(tmp_path, **values):
  (tmp_path / "book.txt").write_text("the quick brown fox jumps over it. " * 60)
  corpus = str(tmp_path / "book.txt")
  return Settings.of(charlm.PAGE, corpus=corpus, **{**SMALL, **values})


def taken(asked):
  """How the layers of a run with these settings go through time."""
  return agreement.agreed(asked, charlm._task(asked, None)).shown("evaluate")


def test_a_loop_is_not_tried(tmp_path, capsys):
  assert taken(settings(tmp_path)) == "evaluate=sequential"
  assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("evaluate", ["newton", "quasi_newton:0.1"])
def test_what_agrees_is_taken(evaluate, tmp_path, capsys):
  asked = settings(tmp_path, cell="gru", truncation="tbptt:16", evaluate=evaluate)
  assert taken(asked) == f"evaluate={evaluate}"
  said = capsys.readouterr().err
  assert said.startswith(f"evaluate={evaluate}: ") and said.count("\n") == 1
  for part in ("iterations at most, a residual of", "the loop's by", "s, by the loop"):
    assert part in said


@pytest.mark.slow
def test_what_does_not_converge_is_not(tmp_path, capsys):
  asked = settings(
    tmp_path, cell="rnn", init="normal:9", hidden=(16,), truncation="tbptt:128"
  )
  assert taken(asked.replaced(evaluate="newton")) == "evaluate=sequential"
  said = capsys.readouterr().err
  assert "it does not converge in 100 iterations: this run takes step by step" in said


def test_what_follows_steps_forward_is_refused(tmp_path):
  asked = settings(tmp_path, truncation="uoro", evaluate="newton")
  with pytest.raises(BadInput, match=r"truncation=uoro.*evaluate=newton"):
    taken(asked)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["memory", "forecast", "music", "tag", "translate"])
def test_every_kind_of_task_can_be_tried(name, tmp_path, monkeypatch):
  small = {**pages_test.SMALL[name], "cell": "gru", "layers": 1, "evaluate": "newton"}
  monkeypatch.setitem(pages_test.SMALL, name, small)
  task, asked = pages_test.task_of(name, tmp_path)
  assert agreement.agreed(asked, task) is asked
