"""The driver of a sweep: keeps workers at work until every trial has ended."""

import contextlib
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from launch import page, plan, run, table
from launch.engines import Engine, Process
from launch.main import fail, say
from launch.study import Study, busy
from unroll import stops
from unroll.errors import BadInput

TICK = 0.5  # seconds between two looks at the trials
STRIKES = 3  # so many, and no more are started
CHOSEN = "chosen.json"


def drive(
  sweep: plan.Plan,
  folder: plan.Folder,
  engine: Engine,
  *,
  workers: int,
  cores: int,
  grace: float,
  tests: bool,
) -> None:
  """Runs a sweep to its end, from wherever it is.

  Args:
    sweep: its plan.
    folder: its folder.
    engine: where workers run.
    workers: how many at once.
    cores: that each confines itself to.
    grace: seconds without a beat, until a worker counts as dead.
    tests: whether the experiment can evaluate the chosen trial on the test split.

  Raises:
    BadInput: if no worker can be made to work.
  """
  study = Study(sweep, folder)
  crew = _Crew(folder, engine, cores, grace)
  show = table.Table(sweep, folder)
  trials: list[dict[str, Any]] = []
  with contextlib.closing(engine), stops.collected() as asked, show:
    while not asked:
      seen = study.trials()
      study.free(seen, crew.dead(busy(seen)))
      study.fill(seen)
      if (now := study.records(seen)) != trials:
        trials = now
        export(sweep, folder, study, trials, finished=False)
      show.update(trials)
      waiting = sum(trial["state"] == "waiting" for trial in trials)
      running = sum(trial["state"] == "running" for trial in trials)
      if not waiting + running:
        break
      crew.keep(min(workers, waiting + running), waiting)
      time.sleep(TICK)
  trials = study.records(study.trials())
  if asked:
    export(sweep, folder, study, trials, finished=False)
    say(f"stopped; the same command with --sweepdir={folder.path} goes on")
    return
  chosen = _choose(sweep, folder, trials, tests)
  export(sweep, folder, study, trials, finished=True, chosen=chosen)
  table.leaderboard(sweep, trials, study.importance(), chosen)
  print(page.write(folder.path))
  if chosen is None:
    fail(f"none of the {len(trials)} trials ran to its end, for the reasons above", 1)


def export(
  sweep: plan.Plan,
  folder: plan.Folder,
  study: Study,
  trials: list[dict[str, Any]],
  *,
  finished: bool,
  chosen: dict[str, Any] | None = None,
) -> None:
  """Writes `trials.json`, all that is to be shown of a sweep."""
  importance = study.importance() if finished else None
  plan.write(
    folder.path / plan.TRIALS,
    {
      "experiment": sweep.experiment,
      "objective": sweep.objective,
      "directions": ["maximize" if most else "minimize" for most in sweep.maximize],
      "flags": sweep.fixed,
      "search": sweep.search,
      "command": shlex.join(["python", "-m", *_called(), *sys.argv[1:]]),
      "finished": finished,
      "trials": trials,
      "importance": importance.shares if importance else {},
      "importance_basis": importance.basis if importance else "",
      "chosen": chosen,
    },
  )


class _Crew:
  """The workers of this driver, and the signs of life of all."""

  def __init__(self, folder: plan.Folder, engine: Engine, cores: int, grace: float):
    self._folder, self._engine, self._cores = folder, engine, cores
    self._grace = grace
    self._processes: dict[str, Process] = {}
    self._beats: dict[str | None, tuple[str, float]] = {}  # the last, and since when
    self._ended: set[str] = set()
    self._strikes = 0  # workers in a row that ended without having begun

  def keep(self, wanted: int, waiting: int) -> None:
    """Starts workers where there are too few and a trial waits."""
    for name, process in self._processes.items():
      if name not in self._ended and not process.running():
        self._ended.add(name)
        begun = any(str(beat).startswith(f"{name}.") for beat in self._beats)
        self._strikes = 0 if begun else self._strikes + 1
        if self._strikes == STRIKES:
          raise BadInput(
            f"{STRIKES} workers in a row ended before they began: see "
            f"{self._folder.log(name)}"
          )
    running = len(self._processes) - len(self._ended)
    for _ in range(min(wanted - running, waiting)):
      name = f"worker-{time.time_ns():x}"
      command = [sys.executable, "-m", "launch.worker", str(self._folder.path), name]
      self._processes[name] = self._engine.start(
        [*command, str(self._cores)], self._folder.log(name)
      )

  def dead(self, busy: set[str | None]) -> set[str | None]:
    """Those of the busy whose beat has not changed for the time of grace."""
    now = time.monotonic()
    for name in busy:
      beat = self._beat(name)
      if name not in self._beats or beat != self._beats[name][0]:
        self._beats[name] = (beat, now)
    for path in (self._folder.path / plan.WORKERS).iterdir():
      self._beats.setdefault(path.name, (self._beat(path.name), now))
    if None not in busy:
      self._beats.pop(None, None)
    return {
      name
      for name in busy
      if now - self._beats[name][1] > self._grace
      or str(name).partition(".")[0] in self._ended
    }

  def _beat(self, name: str | None) -> str:
    try:
      return (self._folder.path / plan.WORKERS / str(name)).read_text()
    except OSError:
      return ""


def _choose(
  sweep: plan.Plan, folder: plan.Folder, trials: list[dict[str, Any]], tests: bool
) -> dict[str, Any] | None:
  """The best trial, and what the test split says of it: asked for once, at the end."""
  best = table.ranked(sweep, trials)[:1]
  if not best:
    return None
  path = folder.path / CHOSEN
  with contextlib.suppress(OSError, ValueError):
    before = json.loads(path.read_text("utf-8"))
    if before["slot"] == best[0]["slot"]:
      return before
  chosen: dict[str, Any] = {"slot": best[0]["slot"], "test": {}}
  scores: list[dict[str, float]] = []
  for ran in best[0]["runs"] if tests else ():
    flags = {
      "mode": "eval",
      "workdir": str(folder.path / ran["workdir"]),
      "json": "true",
    }
    log = folder.log(f"{Path(ran['workdir']).name}-test")
    command = run.command(sweep.experiment, flags)
    ended = run.follow(run.process(command), log, lambda: False)
    if ended is None or ended.error or not isinstance(ended.output, dict):
      say(f"the chosen trial could not be evaluated: see {log}")
      return chosen
    scores.append({k: v for k, v in ended.output.items() if k.startswith("test/")})
  if scores:
    chosen["test"] = {
      name: sum(score[name] for score in scores) / len(scores) for name in scores[0]
    }
  plan.write(path, chosen)
  return chosen


def _called() -> list[str]:
  main = sys.modules["__main__"].__spec__
  return [main.name if main else "launch.sweep"]
