"""Sweeps on this machine, of an experiment in miniature (tests/toy.py)."""

import contextlib
import importlib.util
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "launch.sweep", "tests.toy"]


def start(*flags: str, **options: Any) -> "subprocess.Popen[str]":
  environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}"}
  return subprocess.Popen(
    [*COMMAND, *flags],
    cwd=ROOT,
    env=environment,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    **options,
  )


def sweep(path: Path, *flags: str, code: int = 0) -> Any:
  """Runs a sweep to its end; what trials.json then has, or what was said."""
  child = start(f"--sweepdir={path}", *flags)
  output, errors = child.communicate(timeout=60)
  assert child.returncode == code, output + errors
  return json.loads((path / "trials.json").read_text()) if code == 0 else errors


def ends(path: Path) -> Counter[str]:
  """How often each run ran to its end."""
  return Counter(
    {p.parent.name: p.read_text().count("end") for p in path.glob("runs/*/ends")}
  )


def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_a_grid_runs_every_point_and_seed_once(tmp_path: Path) -> None:
  result = sweep(tmp_path / "s", "--x=0,0.3", "--depth=1,2", "--seeds=2", "--steps=3")
  points = [trial["params"] for trial in result["trials"]]
  assert points == [{"x": x, "depth": d} for x in (0, 0.3) for d in (1, 2)]
  assert all(trial["state"] == "complete" for trial in result["trials"])
  for trial in result["trials"]:
    x, depth = trial["params"]["x"], trial["params"]["depth"]
    mean = (x - 0.3) ** 2 + depth + 1 / 3 + 0.005
    assert trial["values"] == [pytest.approx(mean)]
    assert [run["seed"] for run in trial["runs"]] == [0, 1]
    assert all(run["summary"]["steps"] == 3 for run in trial["runs"])
  names = [f"{n:04}-seed{s}" for n, s in itertools.product(range(4), range(2))]
  assert ends(tmp_path / "s") == dict.fromkeys(names, 1)
  # The best, and the test split's word on it, of both seeds.
  best = 1 / 3 + 1 + 0.005
  assert result["chosen"] == {
    "slot": 2,
    "test": {"test/loss": pytest.approx(10 * best)},
  }
  # Four trials do not say which flag decides.
  assert result["finished"] and result["importance"] == {}
  assert "50 trials" in result["importance_basis"]
  # Again: nothing is left to do.
  again = sweep(tmp_path / "s", "--x=0,0.3", "--depth=1,2", "--seeds=2", "--steps=3")
  assert again == result
  assert set(ends(tmp_path / "s").values()) == {1}
  # Another sweep does not go there.
  errors = sweep(tmp_path / "s", "--x=0,0.4", code=2)
  assert "holds another sweep" in errors and errors.count("\n") == 1


@pytest.mark.slow
def test_failures_are_told_and_do_not_stop_the_sweep(tmp_path: Path) -> None:
  result = sweep(tmp_path, "--kind=bad,good,crash,diverge", "--steps=4")
  bad, good, crash, diverge = result["trials"]
  assert good["state"] == crash["state"] == "complete"
  assert bad["state"] == diverge["state"] == "failed"
  assert bad["error"] == "--kind=bad is not good: choose another"
  assert "--objective=val/loss is nan" in diverge["error"]
  assert good["values"] == crash["values"]  # it went on where it crashed
  assert result["chosen"]["slot"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
  "search",
  [
    "tpe",
    *(
      pytest.param(s, marks=pytest.mark.slow)
      for s in ("random", "cmaes", "nsga2", "hyperband")
    ),
    pytest.param("gp", marks=pytest.mark.peers),  # needs torch
  ],
)
def test_a_search_makes_its_trials(tmp_path: Path, search: str) -> None:
  # More than are drawn blindly at first, of which there are 4.
  flags = [f"--search={search}", "--trials=8", "--x=linear:-1:1", "--depth=int:1:3"]
  result = sweep(tmp_path, *flags, "--slow=true,false", "--steps=3")
  states = Counter(trial["state"] for trial in result["trials"])
  assert states["complete"] + states["pruned"] == 8
  assert states["pruned"] == 0 or search == "hyperband"
  for trial in result["trials"]:
    assert -1 <= trial["params"]["x"] <= 1
    assert trial["params"]["depth"] in (1, 2, 3)
    assert trial["params"]["slow"] in ("true", "false")
  # A genetic search passes numbers on.
  assert len({trial["params"]["x"] for trial in result["trials"]}) >= 3


@pytest.mark.slow
def test_what_is_drawn_again_is_not_run_again(tmp_path: Path) -> None:
  flags = ["--search=random", "--trials=12", "--slow=true,false", "--depth=int:1:2"]
  result = sweep(tmp_path, *flags, "--steps=2", "--workers=1")
  drawn = Counter(json.dumps(trial["params"]) for trial in result["trials"])
  assert 1 < len(drawn) <= 4 and ends(tmp_path).total() == len(drawn)
  for trial in result["trials"]:
    assert trial["state"] == "complete"
    assert trial["values"] == pytest.approx([trial["params"]["depth"] + 0.59])


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch")
def test_a_gaussian_process_without_torch_is_refused(tmp_path: Path) -> None:
  errors = sweep(tmp_path, "--search=gp", "--x=linear:-1:1", code=2)
  assert "pip install -e '.[gp]'" in errors and errors.count("\n") == 1
  assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_pruned(tmp_path: Path) -> None:
  flags = ["--x=0.7,0.6,0.5,0.4,0.3,5,6", "--steps=6", "--pause=0.1"]
  result = sweep(tmp_path, *flags, "--prune", "--workers=1")
  states = [trial["state"] for trial in result["trials"]]
  assert states == ["complete"] * 5 + ["pruned"] * 2
  assert ends(tmp_path).total() == 5


@pytest.mark.slow
def test_two_objectives_one_of_them_to_be_high(tmp_path: Path) -> None:
  flags = ["--objective=-val/loss,steps", "--x=0.3,1", "--steps=1,2"]
  result = sweep(tmp_path, *flags)
  assert result["directions"] == ["maximize", "minimize"]
  assert result["chosen"]["slot"] == 2  # the worst, as asked
  assert [trial["values"][1] for trial in result["trials"]] == [1, 2, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_at_a_terminal_twice(tmp_path: Path, number: int) -> None:
  """All of the foreground are asked; once more, and all have ended at once."""
  flags = [f"--sweepdir={tmp_path}", "--x=0,1,2,3", "--steps=3", "--pause=5"]
  child = start(*flags, process_group=0)
  wait(lambda: len(list((tmp_path / "runs").glob("*"))) >= 2)
  twice = number == signal.SIGINT
  for _ in range(2 if twice else 1):
    os.killpg(child.pid, number)
    time.sleep(1)
  _, errors = child.communicate(timeout=30)
  assert child.returncode == (130 if twice else 0), errors
  assert "Traceback" not in errors and "goes on" in errors.splitlines()[-1]
  for path in Path("/proc").glob("[0-9]*/cmdline"):
    with contextlib.suppress(OSError):
      assert f"{tmp_path}".encode() not in path.read_bytes()


@pytest.mark.parametrize(
  ("how", "storage"), [(signal.SIGTERM, ""), (signal.SIGKILL, "journal")]
)
@pytest.mark.slow
def test_a_sweep_that_was_ended_goes_on(
  tmp_path: Path, how: signal.Signals, storage: str
) -> None:
  path = tmp_path / "s"
  flags = ["--x=0,1,2,3", "--steps=8", "--pause=0.1", "--grace=2"]
  if storage:
    flags.append(f"--storage={tmp_path / 'journal.log'}")
  child = start(f"--sweepdir={path}", *flags)
  wait(lambda: len(list(path.glob("runs/*/state.json"))) >= 2)
  child.send_signal(how)
  output, errors = child.communicate(timeout=30)
  assert child.returncode == (0 if how == signal.SIGTERM else -how)
  if child.returncode == 0:
    assert f"--sweepdir={path} goes on" in errors, output
  # Nothing goes on by itself: workers and runs end with what started them.
  wait(lambda: not list((path / "workers").iterdir()))
  before = {p: p.read_text() for p in path.glob("runs/*/state.json")}
  time.sleep(0.5)
  assert before == {p: p.read_text() for p in path.glob("runs/*/state.json")}
  result = sweep(path, *flags)
  assert [trial["state"] for trial in result["trials"]] == ["complete"] * 4
  assert ends(path) == {f"{n:04}-seed0": 1 for n in range(4)}
  for metrics in path.glob("runs/*/metrics.jsonl"):
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 9))


def test_the_trial_of_a_killed_worker_is_taken_up(tmp_path: Path) -> None:
  flags = ["--x=0,1,2", "--steps=10", "--pause=0.1", "--workers=2"]
  child = start(f"--sweepdir={tmp_path}", *flags)
  wait(lambda: len(list(tmp_path.glob("runs/*/state.json"))) >= 2)
  worker = next((tmp_path / "workers").iterdir()).name
  os.kill(int(worker.split(".")[-2]), signal.SIGKILL)
  output, errors = child.communicate(timeout=60)
  assert child.returncode == 0, output + errors
  result = json.loads((tmp_path / "trials.json").read_text())
  assert [trial["state"] for trial in result["trials"]] == ["complete"] * 3
  assert sorted(trial["attempts"] for trial in result["trials"]) == [1, 1, 2]
  assert set(ends(tmp_path).values()) == {1}


@pytest.mark.slow
def test_a_sweep_of_which_nothing_ends_well_says_so(tmp_path: Path) -> None:
  errors = sweep(tmp_path, "--kind=bad,diverge", "--steps=2", code=1)
  last = errors.splitlines()[-1]
  assert last.startswith("error: none of the 2 trials ran to its end")
  result = json.loads((tmp_path / "trials.json").read_text())
  assert [trial["state"] for trial in result["trials"]] == ["failed"] * 2


@pytest.mark.slow
def test_a_damaged_storage_can_be_done_without(tmp_path: Path) -> None:
  """One sentence; without the file, what was drawn is found in the run folders."""
  path, away = tmp_path / "s", tmp_path / "study.db"
  flags = ["--search=tpe", "--trials=5", "--x=linear:-1:1", "--steps=1"]
  before = sweep(path, *flags)
  data = bytearray((path / "study.db").read_bytes())
  for place in range(0, len(data), 97):
    data[place] ^= 16
  (path / "study.db").write_bytes(data)
  errors = sweep(path, *flags, code=2)
  assert errors.count("\n") <= 2 and "Traceback" not in errors, errors
  assert "study.db cannot be used any more" in errors and "move it away" in errors
  (path / "study.db").rename(away)
  again = sweep(path, *flags)
  for trials in (before["trials"], again["trials"]):
    for trial in trials:
      trial["seconds"] = trial["ended"] = None
  assert again["trials"] == before["trials"]
  assert set(ends(path).values()) == {1}


@pytest.mark.slow
def test_a_storage_that_is_locked_for_75_seconds(tmp_path: Path) -> None:
  flags = ["--x=0,1,2,3", "--steps=8", "--pause=0.3", "--workers=2"]
  child = start(f"--sweepdir={tmp_path}", *flags)
  wait(lambda: len(list(tmp_path.glob("runs/*/state.json"))) >= 2)
  other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
  other.execute("BEGIN EXCLUSIVE")
  time.sleep(75)
  other.execute("ROLLBACK")
  other.close()
  output, errors = child.communicate(timeout=60)
  assert child.returncode == 0 and "Traceback" not in errors, output + errors
  assert errors.count("is locked by another program: waiting") == 1
  result = json.loads((tmp_path / "trials.json").read_text())
  assert [trial["state"] for trial in result["trials"]] == ["complete"] * 4
  assert ends(tmp_path) == {f"{n:04}-seed0": 1 for n in range(4)}


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--y=1,2"], "--y is no flag of the sweep, nor of the experiment"),
    (["--dept=1,2"], "did you mean --depth"),
    (["--x=log:0.1:1"], "a grid takes points"),
    (["--search=tpe"], "nothing to vary"),
    (["--search=cmaes", "--x=1,2"], "give a range"),
    (["--search=annealing", "--x=1,2"], "search"),
    (["--trials=3", "--x=1,2"], "--trials is for a search"),
    (["--x=1,2", "--json"], "--json is for the sweep to set"),
    (["--x=1,2", "--together=depth"], "not swept"),
    (["--seed=1,2", "--seeds=2"], "--seeds repeats"),
    (["x=1"], "not a flag"),
  ],
)
def test_a_wrong_sweep_is_refused(tmp_path: Path, flags: list[str], words: str) -> None:
  errors = sweep(tmp_path / "s", *flags, code=2)
  assert words in errors and errors.count("\n") <= 2
  assert not (tmp_path / "s").exists()


def test_a_dry_run_prints_the_commands_and_runs_none(tmp_path: Path) -> None:
  path = tmp_path / "s"
  child = start(f"--sweepdir={path}", "--x=0,1", "--noslow", "--seeds=2", "--dry_run")
  output, _ = child.communicate(timeout=30)
  commands = output.splitlines()
  assert len(commands) == 4 and not path.exists()
  assert commands[1] == (
    f"python -m tests.toy --slow=false --x=0 --seed=1 --workdir={path}/runs/0000-seed1 "
    "--json=true"
  )
