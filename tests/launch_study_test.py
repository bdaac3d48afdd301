"""The trials of a sweep: who died, how they are drawn, what a damaged storage says."""

import json
import math
import os
import random
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from launch import plan as plans
from launch import run, study, table
from launch.space import Choice, Range
from launch.study import Claim, Study, busy, importance, sampling, storage
from unroll.errors import BadInput

X, DEPTH = Range(-1, 1, False, False), Range(1, 8, False, True)


@pytest.fixture
def folder(tmp_path: Path) -> plans.Folder:
  for part in (plans.RUNS, plans.LOGS, plans.WORKERS):
    (tmp_path / "sweep" / part).mkdir(parents=True)
  return plans.Folder(tmp_path / "sweep")


def planned(**changes: Any) -> plans.Plan:
  plan = plans.Plan(
    experiment="tests.toy",
    fixed={},
    space={"x": X, "depth": DEPTH},
    points=[],
    search="random",
    trials=6,
    seeds=[0],
    objective=["value"],
    maximize=[False],
    prune=False,
    together=[],
    storage="",
    study="sweep-test",
  )
  return plan._replace(**changes)


def claimed(these: Study, worker: str = "worker", most: int = 99) -> list[Claim]:
  """Waiting trials: as many as the plan has, or fewer."""
  these.fill(these.trials())
  claims: list[Claim] = []
  while len(claims) < most and (taken := these.claim(worker)):
    claims += taken
  return claims


def ended(these: Study, claim: Claim, value: float, workdir: str = "") -> None:
  noted = {"seed": 0, "workdir": workdir, "summary": {"value": value, "steps": 3}}
  these.complete(claim, [value], [noted])


def state(these: Study, slot: int = 0) -> Any:
  return these.records(these.trials())[slot]


def test_a_lock_follows_no_link(folder: plans.Folder, tmp_path: Path) -> None:
  (tmp_path / "precious").write_text("precious")
  for name in ("driver", "claim"):
    (folder.path / f".{name}").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=name), folder.locked(name, wait=False):
      pass
  assert (tmp_path / "precious").read_text() == "precious"


# Deaths.


def die(these: Study, times: int) -> None:
  """So many workers that take the first slot's trial, and die."""
  for number in range(times):
    claimed(these, f"mortal-{number}", 1)
    trials = these.trials()
    these.free(trials, busy(trials))


def test_a_trial_that_is_given_back_has_not_died(folder: plans.Folder) -> None:
  these = Study(planned(trials=1), folder)
  for _ in range(2 * study.ATTEMPTS):
    [claim] = claimed(these)
    these.release(claim)
  die(these, study.ATTEMPTS - 1)
  assert state(these)["state"] == "waiting"
  die(these, 1)
  assert state(these)["state"] == "failed"
  assert f"its worker died, {study.ATTEMPTS} times" in state(these)["error"]


def test_deaths_count_from_the_last_checkpoint(folder: plans.Folder) -> None:
  these = Study(planned(trials=1), folder)
  for step in range(3):
    (folder.run(0, 0) / "checkpoints" / str(step + 1)).mkdir(parents=True)
    die(these, study.ATTEMPTS - 1)
    assert state(these)["state"] == "waiting"
  die(these, 1)
  assert state(these)["state"] == "failed"


def crashing(folder: Path, checkpoints: int) -> list[str]:
  """A run that saves and crashes, so many times, and then crashes without saving."""
  program = """
import pathlib, sys
folder, most = pathlib.Path(sys.argv[1], "checkpoints"), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
step = len(list(folder.iterdir()))
with open(folder.parent / "starts", "a") as file:
  file.write("x")
if step < most:
  (folder / str(step + 1)).mkdir()
sys.exit("no more")
"""
  return [*run.command("x", {})[:1], "-c", program, str(folder), str(checkpoints)]


@pytest.mark.parametrize("watched", [False, True])
def test_a_run_that_gets_further_is_tried_again(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
  monkeypatch.setattr(run, "_wait", lambda seconds, stop: True)
  folders = [tmp_path / "run"] if watched else []
  outcome = run.follow(
    run.process(crashing(tmp_path / "run", 7)), tmp_path / "log", lambda: False, folders
  )
  assert outcome and outcome.error
  assert outcome.error.startswith(f"ended with exit code 1, {run.TRIES} times: no more")
  starts = (tmp_path / "run" / "starts").read_text()
  assert len(starts) == run.TRIES + 7 * watched


@pytest.mark.parametrize("count", [None, 2])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("finished", [False, True])
def test_a_run_may_hear_of_its_end_before_its_worker(
  tmp_path: Path,
  monkeypatch: pytest.MonkeyPatch,
  told: bool,
  finished: bool,
  count: int | None,
) -> None:
  monkeypatch.setattr(run, "TOLD", 0.3)
  one = {"finished": finished}
  printed = one if count is None else [one] * count
  ended: list[float] = []

  def once(log: Path, stop: Callable[[], bool]) -> run.Ended:
    ended.append(time.monotonic())
    return run.Ended(0, json.dumps(printed), False)

  def stop() -> bool:
    return told and bool(ended) and time.monotonic() > ended[0] + 0.1

  outcome = run.follow(once, tmp_path / "log", stop)
  if told and not finished:
    assert outcome is None  # the trial goes back
  else:
    assert outcome == run.Outcome(printed, None)
    assert not finished or time.monotonic() < ended[0] + 0.1  # nobody is waited for


def test_a_run_that_nobody_watches_any_more_saves(tmp_path: Path) -> None:
  program = """
import pathlib, signal, sys, time
path = pathlib.Path(sys.argv[1])
def save(*_):
  path.write_text("saved")
  sys.exit()
signal.signal(signal.SIGTERM, save)
path.write_text("")
time.sleep(60)
"""
  path = tmp_path / "state"

  def stop() -> bool:
    if path.exists():
      raise BadInput("the storage is gone")
    return False

  command = [*run.command("x", {})[:1], "-c", program, str(path)]
  with pytest.raises(BadInput):
    run.follow(run.process(command), tmp_path / "log", stop)
  assert path.read_text() == "saved"


# Importance.


def importance_of(draws: list[tuple[float, float]]) -> importance.Importance:
  """Where `x` moves the objective ten times as much as `y`."""
  of_both = {"x": sampling.distribution(X), "y": sampling.distribution(X)}
  these = optuna.create_study()
  these.add_trials(
    [
      optuna.trial.create_trial(
        params={"x": x, "y": y}, distributions=of_both, value=10 * x + y
      )
      for x, y in draws
    ]
  )
  return importance.importance(these, planned(space={"x": X, "y": X}), len(draws))


def test_importance_is_told_from_enough_trials() -> None:
  draw = random.Random(0)
  draws = [(draw.uniform(-1, 1), draw.uniform(-1, 1)) for _ in range(50)]
  for few in (0, 4, 49):
    told = importance_of(draws[:few])
    assert told.shares == {} and told.basis.startswith("not shown: it takes 50 trials")
    assert told.basis.endswith(f"not {few}")
  told = importance_of(draws)
  assert told.shares["x"] > 0.8 and sum(told.shares.values()) == pytest.approx(1)
  assert "the best 5 of 50 trials" in told.basis


# CMA-ES.


class Trap:
  """What is unpickled makes a file."""

  def __init__(self, path: Path):
    self._path = path

  def __reduce__(self) -> Any:
    return (Path.touch, (self._path,))


def test_nothing_in_a_storage_is_run(folder: plans.Folder, tmp_path: Path) -> None:
  import pickle

  these = Study(planned(search="cmaes", trials=8), folder)
  for claim in claimed(these, most=3):
    trap = pickle.dumps(Trap(tmp_path / "sprung")).hex()
    number = claim.trial._trial_id
    these._storage.set_trial_system_attr(number, "cma:optimizer:0", trap)
    ended(these, claim, 0.0)
  for claim in claimed(these):
    ended(these, claim, 0.0)
  assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("sign", [1, -1])
def test_cma_es_finds_a_hollow(sign: int) -> None:
  rate = Range(1e-4, 1e-1, True, False)
  plan = planned(
    search="cmaes",
    maximize=[sign < 0],
    space={"rate": rate, "depth": DEPTH, "cell": Choice(("gru", "lstm"))},
  )
  these = optuna.create_study(direction="maximize" if sign < 0 else "minimize")

  def draw(number: int) -> tuple[optuna.Trial, float]:
    these.sampler = sampling.sampler(plan, number)
    trial = these.ask()
    drawn = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    depth = trial.suggest_int("depth", 1, 8)
    assert trial.suggest_categorical("cell", ("gru", "lstm")) in ("gru", "lstm")
    return trial, math.log(drawn / 0.02) ** 2 + (depth - 6) ** 2

  values: list[float] = []
  for number in range(0, 80, 2):  # two at a time, of which the second ends first
    for trial, value in (draw(number + 1), draw(number)):
      these.tell(trial, sign * value)
      values.append(value)
  early, late = statistics.median(values[:16]), statistics.median(values[-16:])
  assert late < 1 and late < early / 4, (early, late)
  generations = [t.system_attrs["cma:generation"] for t in these.trials]
  assert generations == sorted(generations) and generations[-1] >= 10
  # Whoever draws sees the same trials, and draws the same.
  (_, one), (_, other) = draw(99), draw(99)
  assert one == other


# Storages in trouble.


def test_a_torn_line_of_a_journal_is_taken_away(
  folder: plans.Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  """Also beside a lock that its holder left, wherever both are called from."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "there").mkdir()
  plan = planned(storage="there/journal", trials=2)
  these = Study(plan, folder)
  [first, _] = claimed(these)
  ended(these, first, 1.0)
  journal = tmp_path / "there" / "journal"
  for torn in (b'{"op_code":5,"worker', b"{"):
    with open(journal, "ab") as file:
      file.write(torn)
    again = Study(plan, folder)
    assert state(again)["values"] == [1.0]
    claimed(again)
    assert all(json.loads(line) for line in journal.read_text().splitlines())
  monkeypatch.setattr(storage._Lock, "grace", 3)
  (tmp_path / "there" / "journal.lock").symlink_to(journal)
  began = time.monotonic()
  die(Study(plan, folder), 1)
  assert time.monotonic() - began < 20


@pytest.fixture
def locked(folder: plans.Folder) -> Iterator[sqlite3.Connection]:
  """Holds the SQLite file of the folder."""
  other = sqlite3.connect(folder.path / study.STUDY, check_same_thread=False)
  other.isolation_level = None
  yield other
  other.close()


def test_a_locked_file_is_waited_for(
  folder: plans.Folder,
  locked: sqlite3.Connection,
  capsys: pytest.CaptureFixture[str],
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  monkeypatch.setattr(storage, "PAUSE", 0.1)
  these = Study(planned(trials=2), folder)
  [first, second] = claimed(these)
  for lock, claim in (("IMMEDIATE", first), ("EXCLUSIVE", second)):
    locked.execute(f"BEGIN {lock}")
    timer = threading.Timer(1.5, lambda: locked.execute("ROLLBACK"))
    timer.start()
    ended(these, claim, 1.0)
    timer.join()
    said = capsys.readouterr().err
    assert "is locked by another program: waiting" in said and said.count("\n") == 1
  assert [trial["values"] for trial in these.records(these.trials())] == [[1.0], [1.0]]


def test_a_file_that_stays_locked(
  folder: plans.Folder, locked: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(storage, "PAUSE", 0.1)
  these = Study(planned(trials=1), folder)
  monkeypatch.setattr(storage, "PATIENCE", 0.3)
  locked.execute("BEGIN EXCLUSIVE")
  with pytest.raises(BadInput, match="locked by another program for 0 seconds"):
    these.fill(these.trials())
  locked.execute("ROLLBACK")
  these.fill(these.trials())
  assert state(these)["state"] == "waiting"


def test_no_password_is_told() -> None:
  url = "postgresql+psycopg://me:secret@host/trials"
  said = storage.trouble(url, OSError("no route to host"))
  assert "secret" not in said and "postgresql+psycopg://me:…@host/trials" in said
  assert "(OSError: no route to host)" in said


def flipped(path: Path, seed: int) -> None:
  """Flips bits of a file where it is not empty, a few or many."""
  data, draw = bytearray(path.read_bytes()), random.Random(seed)
  places = [place for place, byte in enumerate(data) if byte]
  for place in draw.sample(places, (4, 40)[seed % 2]):
    data[place] ^= 1 << draw.randrange(8)
  path.write_bytes(data)


@pytest.mark.parametrize("kind", [study.STUDY, "journal"])
def test_flipped_bits_are_told_in_a_sentence(
  folder: plans.Folder, tmp_path: Path, kind: str
) -> None:
  path = tmp_path / "journal" if kind == "journal" else folder.path / kind
  plan = planned(storage=str(path) if kind == "journal" else "")
  these = Study(plan, folder)
  for claim in claimed(these, most=4):
    ended(these, claim, 1.0)
  whole, told = path.read_bytes(), 0
  for seed in range(24):
    path.write_bytes(whole)
    flipped(path, seed)
    try:
      damaged = Study(plan, folder)
      damaged.free(damaged.trials(), {None})
      for claim in claimed(damaged):
        damaged.repeats(claim)
        ended(damaged, claim, 2.0)
      records = damaged.records(damaged.trials())
      table.leaderboard(plan, records, damaged.importance(), None)
    except BadInput as error:
      told += 1
      assert "move it away" in str(error) and "\n" not in str(error)
  assert told > 5


def test_no_path_is_taken_from_a_storage(folder: plans.Folder) -> None:
  these = Study(planned(trials=1), folder)
  ended(these, *claimed(these), 1.0, workdir="/etc")
  [noted] = state(these)["runs"]
  assert noted["workdir"] == "runs/0000-seed0" and noted["summary"]["steps"] == 3


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sweep_goes_on_without_its_storage(folder: plans.Folder) -> None:
  """What had been drawn is drawn again, and so found in its run folder."""
  space = {"x": X, "depth": DEPTH, "cell": Choice(("1", "gru"))}
  plan = planned(search="tpe", space=space)
  these = Study(plan, folder)
  before = {claim.slot: dict(claim.values) for claim in claimed(these, most=4)}
  records = these.records(these.trials())
  plans.write(folder.path / plans.TRIALS, {"trials": records})
  os.rename(folder.path / study.STUDY, folder.path / "study.away")
  after = {claim.slot: dict(claim.values) for claim in claimed(Study(plan, folder))}
  assert len(before) == 4 and before.items() <= after.items() and len(after) == 6
