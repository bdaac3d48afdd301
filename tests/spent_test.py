"""Where the time of a run goes: parts are timed, what is left are steps."""

import re

import pytest

from experiments.session import spent, terminal


@pytest.fixture
def clock(monkeypatch):
  """The seconds of a clock that stands, but for what is added."""
  now = [100.0]
  monkeypatch.setattr(spent.time, "monotonic", lambda: now[0])
  terminal.hush(False, detailed=True)
  yield now
  terminal.hush(False)


def test_what_is_not_timed_are_steps(clock, capsys):
  def passes(seconds):
    clock[0] += seconds
    return seconds

  run = spent.Spent(clock[0])
  assert run.timed("data", passes)(1.0) == 1.0
  passes(3)
  logged = []
  log = run.noting(logged.append)
  log({"step": 1, "train/loss": 2.0})
  log({"step": 1, "start_seconds": 4.0})
  for seconds in run.waited("waiting for data", map(passes, (0.5, 0.25))):
    passes(8 * seconds)
  run.timed("evaluation", passes)(2.0)
  with pytest.raises(TypeError):
    run.timed("checkpoints", passes)(seconds=None)
  run.tell()
  first, whole = capsys.readouterr().err.splitlines()
  assert first.startswith("first step after 4.00 s: data took 1.00 s; ")
  assert re.search(r"\d+ programs compiled and \d+ found compiled, in \d", first)
  assert whole == (
    "12.75 s: until the first step 4.00, steps 6.00, waiting for data 0.75, "
    "evaluation 2.00"
  )
  assert len(logged) == 2


def test_a_run_that_took_no_step(clock, capsys):
  run = spent.Spent(clock[0] - 1)
  run.timed("evaluation", lambda: None)()
  run.tell()
  assert capsys.readouterr().err == "1.00 s: start 1.00\n"
