"""The trials of a sweep and who works on them: the one room that names Optuna.

A slot is a place in the plan: a point of the grid, or the n-th draw of a search. It is
filled with a waiting trial; a worker claims that, and tells how it ended. What is taken
from a dead worker leaves its slot empty, to be filled again with the same parameters.
"""

import contextlib
import hashlib
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from launch import run
from launch.plan import Folder, Plan
from launch.space import Choice, Range, Values
from launch.study import importance, sampling, storage
from unroll.errors import BadInput

ATTEMPTS = 5  # workers that die at a slot, none of which got further, end it
STUDY = "study.db"
SLOT, WORKER, ERROR, OUTCOMES = "slot", "worker", "error", "runs"
DIED = "died"  # at which step a worker did

SEARCHES = ("grid", "random", "tpe", "gp", "cmaes", "nsga2", "hyperband")
Trials = list[FrozenTrial]
_STATES = {
  TrialState.WAITING: "waiting",
  TrialState.RUNNING: "running",
  TrialState.COMPLETE: "complete",
  TrialState.PRUNED: "pruned",
  TrialState.FAIL: "failed",
}

logging.getLogger("optuna").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class Claim(NamedTuple):
  """A trial that a worker has to itself.

  Attributes:
    slot: its place in the plan.
    values: its flags.
    trial: Optuna's.
  """

  slot: int
  values: Values
  trial: optuna.Trial


@storage.telling
class Study:
  """The trials of a plan, shared by everybody who opens it.

  Args:
    plan: what is to be tried.
    folder: where the storage is, unless the plan says otherwise.

  Raises:
    BadInput: if the storage cannot be opened, or used: any method may.
  """

  def __init__(self, plan: Plan, folder: Folder):
    self.plan = plan
    self._folder = folder
    self.where = plan.storage or f"sqlite:///{folder.path / STUDY}"
    try:
      self._storage = storage.opened(self.where)
      self._study = optuna.create_study(
        storage=self._storage,
        study_name=plan.study,
        directions=["maximize" if most else "minimize" for most in plan.maximize],
        load_if_exists=True,
        pruner=sampling.pruner(plan),
      )
    except Exception as error:  # of SQLAlchemy, of a driver, or of the system
      raise BadInput(
        f"{storage.trouble(self.where, error)}; a storage is a journal file, "
        "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
      ) from None
    self._id = self._storage.get_study_id_from_name(plan.study)

  def trials(self) -> Trials:
    """All trials as they are now: one look at the storage, for many questions."""
    return self._trials()

  def fill(self, trials: Trials) -> None:
    """Gives every empty slot a waiting trial; for the driver alone."""
    last = {trial.user_attrs[SLOT]: trial for trial in trials}
    noted = self._folder.noted() if len(last) < self.plan.trials else {}
    for slot in range(self.plan.trials):
      trial = last.get(slot)
      if trial is None:
        drawn = self._drawn_before(noted.get(slot, {}))
        point = self.plan.points[slot] if self.plan.points else drawn
        self._study.enqueue_trial(dict(point), {SLOT: slot})
      elif trial.state == TrialState.FAIL and ERROR not in trial.user_attrs:
        fixed = trial.system_attrs.get("fixed_params", {})
        self._study.enqueue_trial({**fixed, **trial.params}, {SLOT: slot})

  def claim(self, worker: str, most: int = 1) -> list[Claim]:
    """Takes waiting trials: one, and others that may run in its process.

    Args:
      worker: who takes them.
      most: how many.
    """
    claims: list[Claim] = []
    with self._alone():
      for frozen in self._trials((TrialState.WAITING,)):
        if len(claims) == most:
          break
        fixed = frozen.system_attrs.get("fixed_params", {})
        if claims and not self._alike(fixed, claims[0].values):
          continue
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
          number = frozen._trial_id
          if self._storage.set_trial_state_values(number, TrialState.RUNNING):
            # First of all, so that it is freed when the worker dies.
            self._storage.set_trial_user_attr(number, WORKER, worker)
            claims.append(self._drawn(frozen, fixed))
    return claims

  def _drawn(self, frozen: FrozenTrial, fixed: Values) -> Claim:
    slot = frozen.user_attrs[SLOT]
    # Its own generator for each slot: a draw does not depend on who makes it.
    digest = hashlib.blake2b(f"{self.plan.seeds} {slot}".encode(), digest_size=4)
    self._study.sampler = sampling.sampler(self.plan, int.from_bytes(digest.digest()))
    trial = optuna.Trial(self._study, frozen._trial_id)
    values = {}
    for name, domain in self.plan.space.items():
      if isinstance(domain, Range):
        low, high = domain.low, domain.high
        if domain.whole:
          number: float = trial.suggest_int(name, int(low), int(high), log=domain.log)
        else:
          number = trial.suggest_float(name, low, high, log=domain.log)
        values[name] = domain.text(number)
      elif name in fixed or not self.plan.points:
        values[name] = trial.suggest_categorical(name, domain.values)
    return Claim(slot, values, trial)

  def _alike(self, values: Values, others: Values) -> bool:
    """Whether two trials differ in flags alone that may differ in one process."""
    names = (values.keys() | others.keys()) - set(self.plan.together)
    # What a search is still to draw may be anything.
    drawn = names - values.keys() if not self.plan.points else set()
    return not drawn and all(values.get(name) == others.get(name) for name in names)

  def mine(self, claim: Claim) -> bool:
    """Whether a claim still stands: it was not taken away as a dead worker's."""
    return self._storage.get_trial(claim.trial._trial_id).state == TrialState.RUNNING

  def repeats(self, claim: Claim) -> bool:
    """Whether the same was drawn before, as genetic search does: its outcome is taken.

    Flags and seeds make a run what it is, so that another would say nothing new.
    """
    for known in self._trials((TrialState.COMPLETE,)):
      if known.params == claim.trial.params and known.params:
        self.complete(claim, known.values, known.user_attrs[OUTCOMES])
        return True
    return False

  def report(self, claim: Claim, value: float, evaluation: int) -> bool:
    """Notes an evaluation's number, counted from 1; true if the trial is to stop."""
    with warnings.catch_warnings(action="ignore"):  # one that is known already
      claim.trial.report(value, evaluation)
    return claim.trial.should_prune()

  def complete(self, claim: Claim, values: Sequence[float], runs: Any) -> None:
    """A trial has run to its end."""
    self._tell(claim, TrialState.COMPLETE, runs, values=list(values))

  def pruned(self, claim: Claim, runs: Any) -> None:
    """A trial was stopped because others do better."""
    self._tell(claim, TrialState.PRUNED, runs)

  def failed(self, claim: Claim, error: str, runs: Any) -> None:
    """A trial cannot be run to its end, for a reason."""
    claim.trial.set_user_attr(ERROR, error)
    self._tell(claim, TrialState.FAIL, runs)

  def release(self, claim: Claim) -> None:
    """A trial goes back, to be taken up by another worker."""
    self._study.tell(claim.trial, state=TrialState.FAIL, skip_if_finished=True)

  def free(self, trials: Trials, dead: Iterable[str | None]) -> None:
    """Takes the trials of dead workers away; for the driver alone."""
    gone = set(dead)
    for trial in trials:
      if trial.state != TrialState.RUNNING or trial.user_attrs.get(WORKER) not in gone:
        continue
      slot = trial.user_attrs[SLOT]
      reached = run.reached(self._folder.runs(slot))
      others = [t.user_attrs.get(DIED) for t in trials if t.user_attrs[SLOT] == slot]
      deaths = 1 + sum(died is not None and died >= reached for died in others)
      with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        self._storage.set_trial_user_attr(trial._trial_id, DIED, reached)
        if deaths >= ATTEMPTS:
          reason = f"its worker died, {deaths} times: see the logs of the workers"
          self._storage.set_trial_user_attr(trial._trial_id, ERROR, reason)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

  def records(self, trials: Trials) -> list[dict[str, Any]]:
    """The trials as `trials.json` has them, slot by slot."""
    slots: dict[int, list[FrozenTrial]] = {n: [] for n in range(self.plan.trials)}
    for trial in trials:
      slots[trial.user_attrs[SLOT]].append(trial)
    return [self._record(slot, trials) for slot, trials in slots.items()]

  def importance(self) -> importance.Importance:
    """How much of the objective each flag decides."""
    complete = len(self._trials((TrialState.COMPLETE,)))
    return importance.importance(self._study, self.plan, complete)

  def _drawn_before(self, noted: Mapping[str, Any]) -> Values:
    """What was drawn in a storage that is gone, as `trials.json` has it."""
    values: dict[str, Any] = {}
    for name, domain in self.plan.space.items():
      value = noted.get(name)
      known = domain.values if isinstance(domain, Choice) else (value,)
      values.update((name, v) for v in known if v is not None and _number(v) == value)
    return values

  def _record(self, slot: int, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    last = trials[-1] if trials else None
    state = "waiting" if last is None else _STATES[last.state]
    attributes = last.user_attrs if last else {}
    if state == "failed" and ERROR not in attributes:
      state = "waiting"  # to be filled again
    spent = last.duration.total_seconds() if last and last.duration else None
    ended = last.datetime_complete if last else None
    params = last.params if last and last.params else {}
    point = self.plan.points[slot] if self.plan.points else {}
    return {
      "slot": slot,
      "state": state,
      "attempts": len(trials),
      "params": {name: _number(value) for name, value in {**point, **params}.items()},
      "values": list(last.values or ()) if last else [],
      "seconds": spent,
      "ended": ended.timestamp() if ended else None,
      "error": attributes.get(ERROR),
      "runs": [self._run(slot, state, one) for one in attributes.get(OUTCOMES, [])],
    }

  def _run(self, slot: int, state: str, noted: dict[str, Any]) -> dict[str, Any]:
    """A run of a trial; any error for one that no worker has noted so."""
    seed, summary = int(noted["seed"]), noted["summary"]
    if state == "complete":
      [float(summary[name]) for name in self.plan.objective]
    # A path from the storage might lead anywhere.
    where = self._folder.run(slot, seed).relative_to(self._folder.path)
    return {"seed": seed, "workdir": str(where), "summary": summary}

  def _tell(self, claim: Claim, state: TrialState, runs: Any, **values: Any) -> None:
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
      claim.trial.set_user_attr(OUTCOMES, runs)
      self._study.tell(claim.trial, state=state, skip_if_finished=True, **values)

  def _trials(self, states: tuple[TrialState, ...] | None = None) -> Trials:
    return self._storage.get_all_trials(self._id, deepcopy=False, states=states)

  def _alone(self) -> contextlib.AbstractContextManager[object]:
    """SQLite does not lock the row that it reads: two would take the same trial."""
    if self.plan.storage and not self.plan.storage.startswith("sqlite"):
      return contextlib.nullcontext()
    return self._folder.locked("claim", wait=True)


def busy(trials: Trials) -> set[str | None]:
  """Who is at work on trials; None is someone who died in taking one."""
  running = [trial for trial in trials if trial.state == TrialState.RUNNING]
  return {trial.user_attrs.get(WORKER) for trial in running}


def _number(text: Any) -> Any:
  """A text as the number that it says, if it says one."""
  for kind in (int, float):
    with contextlib.suppress(ValueError, TypeError):
      return kind(text) if isinstance(text, str) else text
  return text
