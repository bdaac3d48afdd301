"""The runs of trials: one after another, or those of many trials in one program."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from launch import run, standby
from launch.plan import LOGS, Folder, Plan, write
from launch.study import Claim, Study

CHECK = 5.0  # seconds between questions whether a trial is still ours


class Run(NamedTuple):
  """One run of a trial.

  Attributes:
    claim: the trial.
    flags: all of its flags.
    noted: what `trials.json` says of it.
  """

  claim: Claim
  flags: dict[str, str]
  noted: dict[str, Any]


class Desk:
  """Where a worker works on what it has claimed.

  Args:
    plan: of the sweep.
    folder: the sweep's.
    study: is told how trials end.
    stop: asked all the time; true ends runs with a checkpoint, and trials go back.
  """

  def __init__(
    self, plan: Plan, folder: Folder, study: Study, stop: Callable[[], bool]
  ):
    self._plan, self._folder, self._study, self._stop = plan, folder, study, stop
    pages = standby.serves(plan.experiment)
    self._standby = standby.Standby(plan.experiment) if pages else None

  def work(self, claims: Sequence[Claim]) -> None:
    """Runs trials to their ends, and tells them."""
    claims = [claim for claim in claims if not self._study.repeats(claim)]
    runs = {claim.slot: self._runs(claim) for claim in claims}
    outcomes: dict[str, run.Outcome] = {}  # by run folder
    if self._plan.together:
      everything = [one for of_trial in runs.values() for one in of_trial]
      outcomes = self._together(everything)
    for claim in claims:
      self._try(claim, runs[claim.slot], outcomes)

  def close(self) -> None:
    """Ends what waits for the next trial."""
    if self._standby:
      self._standby.close()

  def _once(self, flags: dict[str, str]) -> run.Once:
    """What runs the experiment with some flags."""
    if self._standby:
      return self._standby.once(run.arguments(flags))
    return run.process(run.command(self._plan.experiment, flags))

  def _runs(self, claim: Claim) -> list[Run]:
    runs = []
    for flags in self._plan.runs(self._folder, claim.slot, claim.values):
      where = str(Path(flags["workdir"]).relative_to(self._folder.path))
      noted = {"seed": int(flags["seed"]), "workdir": where, "summary": None}
      runs.append(Run(claim, flags, noted))
    return runs

  def _try(
    self, claim: Claim, runs: Sequence[Run], known: dict[str, run.Outcome]
  ) -> None:
    """Runs what is not known yet of a trial, and tells how it went."""
    watch = _Watch(self._study, [claim], self._stop, self._plan.objective[0])
    values, noted, failure = [], [], None
    for number, one in enumerate(runs):
      path = Path(one.flags["workdir"])
      # The first run that fails is enough, but what is known of others is noted.
      if failure is not None and str(path) not in known:
        break
      # A trial falls behind or not with its first seed.
      prunes = self._plan.prunes and number == 0
      watch.reads(path / "metrics.jsonl" if prunes else None)
      outcome = known.get(str(path)) or run.follow(
        self._once(one.flags),
        self._folder.log(path.name),
        watch.over,
        [path],
      )
      noted.append(one.noted)
      if outcome is None:
        if watch.pruned:
          self._study.pruned(claim, noted)
        else:
          self._study.release(claim)
        return
      found, error = _objectives(outcome, self._plan.objective)
      one.noted["summary"] = outcome.output
      if error is not None:
        one.noted["error"] = error
        failure = failure or error
      values.append(found)
    if failure is not None:
      self._study.failed(claim, failure, noted)
      return
    means = [math.fsum(column) / len(column) for column in zip(*values)]
    self._study.complete(claim, means, noted)

  def _together(self, runs: Sequence[Run]) -> dict[str, run.Outcome]:
    """Runs arms in as few programs as there can be: what is known of them then.

    An arm that cannot be part of one is left out, to be run, or refused, by itself.
    """
    outcomes: dict[str, run.Outcome] = {}
    for shared, arms in _groups(runs, {*self._plan.together, "workdir"}):
      name = Path(arms[0].flags["workdir"]).name
      path = self._folder.path / LOGS / f"{name}-arms.json"
      own = [
        {k: v for k, v in one.flags.items() if k not in shared and k != "workdir"}
        for one in arms
      ]
      workdirs = [one.flags["workdir"] for one in arms]
      write(path, [{"workdir": w, "flags": f} for w, f in zip(workdirs, own)])
      watch = _Watch(self._study, [one.claim for one in arms], self._stop)
      ended = run.follow(
        self._once({**shared, "arms": str(path)}),
        self._folder.log(f"{name}-arms"),
        watch.over,
        [Path(workdir) for workdir in workdirs],
      )
      if ended is not None and isinstance(ended.output, list):
        for workdir, summary in zip(workdirs, ended.output):
          error = summary.get("error") if isinstance(summary, dict) else None
          outcomes[workdir] = run.Outcome(None if error else summary, error)
    return outcomes


class _Watch:
  """Whether the runs of trials are to go on."""

  def __init__(
    self,
    study: Study,
    claims: Sequence[Claim],
    stop: Callable[[], bool],
    objective: str = "",
  ):
    self._study, self._claims, self._objective = study, claims, objective
    self._stop = stop
    self._tail: run.Tail | None = None
    self._asked = time.monotonic()
    self.pruned = False

  def reads(self, metrics: Path | None) -> None:
    """Looks at the evaluations in this file from now on; None: at none."""
    self._tail = run.Tail(metrics, self._objective) if metrics else None

  def over(self) -> bool:
    """True once they should stop: asked to, fallen behind, or taken away."""
    if self._stop():
      return True
    for evaluation, value in self._tail.new() if self._tail else ():
      self.pruned |= self._study.report(self._claims[0], value, evaluation)
    if self.pruned:
      return True
    if time.monotonic() - self._asked > CHECK:
      self._asked = time.monotonic()
      return not all(self._study.mine(claim) for claim in self._claims)
    return False


def _groups(
  runs: Iterable[Run], own: set[str]
) -> list[tuple[dict[str, str], list[Run]]]:
  """Runs that differ in their own flags alone, and the flags that they share."""
  groups: list[tuple[dict[str, str], list[Run]]] = []
  for one in runs:
    shared = {name: value for name, value in one.flags.items() if name not in own}
    for flags, members in groups:
      if flags == shared:
        members.append(one)
        break
    else:
      groups.append((shared, [one]))
  return [(shared, members) for shared, members in groups if len(members) > 1]


def _objectives(
  outcome: run.Outcome, names: Sequence[str]
) -> tuple[list[float], str | None]:
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
