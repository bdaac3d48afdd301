"""What a person at the terminal sees, and with --quiet does not."""

import re

import pytest
from commands import run

from experiments.session import terminal
from unroll.loop import Budget
from unroll.run import Progress

TINY = [
  *("--corpus=pydoc", "--hidden=8", "--embedding=8", "--layers=1", "--steps=3"),
  *("--batch=4", "--truncation=tbptt:8", "--split=0:999,999:1500", "--length=9"),
]


@pytest.fixture
def hushed():
  terminal.hush(True)
  yield
  terminal.hush(False)


def told(capsys, path):
  terminal.say("so far")
  progress = Progress(3, 1.0, 8.0, None, {}, {}, None)
  with terminal.Display(Budget(9, None), progress, "val/loss", "tokens") as display:
    display.show(progress, 2.5, 100.0)
  with terminal.extra(path):
    raise ValueError("no font")
  return capsys.readouterr()


def test_progress_is_shown(capsys, tmp_path):
  out, err = told(capsys, tmp_path)
  assert not out and err.startswith("so far\n   1.0s step 3 loss 2.500 100 tokens/s\n")


def test_quiet_leaves_what_is_not_as_one_would_think(capsys, tmp_path, hushed):
  out, err = told(capsys, tmp_path)
  assert not out and err == f"{tmp_path} is missing: no font\n"


def test_details_are_told_to_those_who_ask(capsys):
  terminal.detail("no")
  terminal.hush(False, detailed=True)
  terminal.detail("yes")
  terminal.hush(False)
  terminal.detail("no")
  assert capsys.readouterr().err == "yes\n"


def test_less_and_more_at_once_are_refused(tmp_path):
  done = run(tmp_path, "charlm", *TINY, "--workdir=a", "--quiet", "--verbose")
  assert done.code == 2 and not any(tmp_path.iterdir())
  assert done.err == "error: --quiet says less and --verbose more: give one of them\n"


@pytest.mark.slow
def test_a_verbose_run_tells_how_it_runs(tmp_path):
  """Also where its programs are found kept; and it does the same."""
  plain = run(tmp_path, "charlm", *TINY, "--workdir=a")
  first = run(tmp_path, "charlm", *TINY, "--workdir=b", "--verbose")
  again = run(tmp_path, "charlm", *TINY, "--workdir=c", "--verbose")
  assert plain.out == first.out == again.out and again.code == 0
  for done in (first, again):
    assert re.search(r"^imports took \d", done.err, re.M)
    assert re.search(r"^compiled programs are kept in /", done.err, re.M)
    assert re.search(
      r"^4 sequences, \d on each of \d+ devices; there are \d", done.err, re.M
    )
    assert (
      "\n  scan of [8, 4" in done.err and "LSTMCarry: derived, the cell" in done.err
    )
    assert re.search(
      r"^first step after .* data took .* programs compiled", done.err, re.M
    )
    assert re.search(
      r"^\d.* s: until the first step .*steps .*checkpoints", done.err, re.M
    )
  assert "\nprogram step: found kept\n" in again.err


@pytest.mark.slow
def test_a_quiet_run_gives_its_results_alone(tmp_path):
  loud = run(tmp_path, "charlm", *TINY, "--workdir=a")
  quiet = run(tmp_path, "charlm", *TINY, "--workdir=a2", "--quiet")
  assert loud.code == quiet.code == 0
  assert "parameters" in loud.err and not quiet.err and quiet.out == loud.out
  wrong = run(tmp_path, "charlm", *TINY, "--workdir=a2", "--quiet", "--hidden=9")
  assert wrong.code == 2 and "--hidden" in wrong.err
