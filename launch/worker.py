"""`python -m launch.worker SWEEP_DIR NAME`: works on a sweep until no trial waits.

Any number of workers, on any machines that see the folder and the storage, need no one
to tell them what to do. A worker that is told to stop saves its runs and gives its
trial back; one that is killed stops beating, and its trial is taken from it.
"""

import contextlib
import math
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch import cores, plan, run
from launch.study import Claim, Study

BEAT = 1.0  # seconds
CHECK = 5.0  # seconds between questions whether a trial is still ours


class Worker:
  """Runs the trials that it claims.

  Args:
    folder: the sweep's.
    name: its own, which no other worker has.
  """

  def __init__(self, folder: plan.Folder, name: str):
    self._folder, self._name = folder, name
    self._plan = folder.plan()
    self._study = Study(self._plan, folder)
    self._asked = False

  def stop(self, *_: Any) -> None:
    """Ends it after its runs have saved."""
    self._asked = True

  def work(self) -> None:
    """Takes trials until none waits, or until it is asked to stop."""
    while not self._asked and (claims := self._study.claim(self._name)):
      self._try(claims[0])

  def _try(self, claim: Claim) -> None:
    """Runs every seed of a trial, and tells how it went."""
    watch = _Watch(self._study, claim, self._plan.objective[0])
    runs: list[dict[str, Any]] = []
    values: list[list[float]] = []
    for flags in self._plan.runs(self._folder, claim.slot, claim.values):
      path = Path(flags["workdir"])
      where = str(path.relative_to(self._folder.path))
      runs.append({"seed": int(flags["seed"]), "workdir": where, "summary": None})
      # A trial falls behind or not with its first seed.
      prunes = self._plan.search == "hyperband" or self._plan.prune
      watch.reads(path if prunes and len(runs) == 1 else None)
      outcome = run.follow(
        run.command(self._plan.experiment, flags),
        self._folder.log(path.name),
        lambda: self._asked or watch.over(),
      )
      if outcome is None:
        if watch.pruned:
          self._study.pruned(claim, runs)
        else:
          self._study.release(claim)
        return
      found, error = _objectives(outcome, self._plan.objective)
      runs[-1]["summary"] = outcome.output
      if error is not None:
        self._study.failed(claim, error, runs)
        return
      values.append(found)
    means = [math.fsum(column) / len(column) for column in zip(*values)]
    self._study.complete(claim, means, runs)


class _Watch:
  """Whether a run is to go on."""

  def __init__(self, study: Study, claim: Claim, objective: str):
    self._study, self._claim, self._objective = study, claim, objective
    self._tail: run.Tail | None = None
    self._asked = time.monotonic()
    self.pruned = False

  def reads(self, path: Path | None) -> None:
    """Looks at the evaluations of this run from now on; None: at none."""
    metrics = path and path / "metrics.jsonl"
    self._tail = run.Tail(metrics, self._objective) if metrics else None

  def over(self) -> bool:
    """True once it should stop, for falling behind or being taken away."""
    for evaluation, value in self._tail.new() if self._tail else ():
      self.pruned |= self._study.report(self._claim, value, evaluation)
    if self.pruned:
      return True
    if time.monotonic() - self._asked > CHECK:
      self._asked = time.monotonic()
      return not self._study.mine(self._claim)
    return False


def _objectives(outcome: run.Outcome, names: Any) -> tuple[list[float], str | None]:
  """The objectives of a run that has ended, or why there are none."""
  if outcome.error is not None:
    return [], outcome.error
  summary = outcome.output
  if not isinstance(summary, dict) or not summary.get("finished"):
    return [], "it ended with exit code 0, but without a summary of a finished run"
  numbers = []
  for name in names:
    value = summary.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
      known = ", ".join(k for k, v in summary.items() if isinstance(v, int | float))
      return [], f"--objective={name} is {value} in its summary, which has: {known}"
    numbers.append(float(value))
  return numbers, None


@contextlib.contextmanager
def beating(folder: Path, name: str) -> Iterator[None]:
  """Rewrites a file every second, so that others see that this process lives."""
  path, over = folder / name, threading.Event()

  def beat() -> None:
    count = 0
    while True:
      with contextlib.suppress(OSError):  # a full disk may have room again
        path.write_text(str(count))
      count += 1
      if over.wait(BEAT):
        return

  thread = threading.Thread(target=beat, daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()
    path.unlink(missing_ok=True)


def main() -> None:
  """Works on the sweep of the arguments."""
  folder = plan.Folder(Path(sys.argv[1]))
  unique = f"{sys.argv[2]}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(2)}"
  count = int(sys.argv[3]) if len(sys.argv) > 3 else 0
  with beating(folder.path / plan.WORKERS, unique), cores.held(count):
    worker = Worker(folder, unique)
    for number in (signal.SIGTERM, signal.SIGINT):
      signal.signal(number, worker.stop)
    worker.work()


if __name__ == "__main__":
  main()
