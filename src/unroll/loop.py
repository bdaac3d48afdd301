"""The loop around the training step.

It keeps the device busy: a dispatch's numbers are read only once the next one is
under way. Of models, files and flags it knows nothing.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from unroll.schedules import Plateau
from unroll.train import Control, StepMetrics, TrainState
from unroll.types import BadInput

PATIENCE_FOR_NONFINITE = 50  # steps in a row


class Budget(NamedTuple):
  """When training ends: after so many steps or seconds, whichever comes first.

  Attributes:
    steps: None for no limit.
    seconds: of wall clock since the run began, over all its restarts; None for no
      limit. Evaluations count, the last one too.
    patience: evaluations without a new best that end training early; 0 never does.
  """

  steps: int | None
  seconds: float | None
  patience: int = 0

  def horizon(self, step: int, seconds: float) -> float:
    """The step at which training is going to end, as far as known at `step`."""
    horizon = math.inf if self.steps is None else float(self.steps)
    if self.seconds is not None and step > 1:  # the time of one is mostly the start's
      horizon = min(horizon, step * self.seconds / max(seconds, 1e-9))
    return horizon


class Progress(NamedTuple):
  """What the host remembers of a run: JSON, kept beside the state.

  Attributes:
    step: updates so far.
    seconds: wall clock so far.
    tokens: targets counted so far.
    plateau: how the validation loss has fared.
    last: the last evaluation's numbers, with its step.
    best: the best evaluation's numbers, with its step.
  """

  step: int
  seconds: float
  tokens: float
  plateau: Plateau
  last: dict[str, float]
  best: dict[str, float]

  def to_json(self) -> dict[str, Any]:
    """Plain dicts and numbers."""
    return {**self._asdict(), "plateau": self.plateau._asdict()}

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> "Progress":
    """Reads what `to_json` gave."""
    return cls(**{**data, "plateau": Plateau(**data["plateau"])})


class Hooks(NamedTuple):
  """What the loop calls, so that it knows neither files nor models.

  Attributes:
    evaluate: `state -> {name: number}`.
    objective: which of those numbers is to fall.
    save: `(state, progress, best)`; must copy the state, which is donated next.
    log: takes one record, `{"step": n, …}`; one of them has the "start_seconds" that
      passed before the first step of this session was done.
    show: `(progress, recent mean loss, tokens per second)`, for eyes only.
    stop: true once someone asked for a stop.
    late: whether time is up, from what this process's clock says of that: processes
      that train together must end together.
  """

  evaluate: Callable[[TrainState], dict[str, float]]
  objective: str
  save: Callable[[TrainState, Progress, bool], None]
  log: Callable[[dict[str, Any]], None]
  show: Callable[[Progress, float, float], None]
  stop: Callable[[], bool]
  late: Callable[[bool], bool] = lambda late: late


def fit(
  dispatch: Callable[..., tuple[TrainState, StepMetrics]],
  state: TrainState,
  progress: Progress,
  batches: Iterable[tuple[int, Any]],
  budget: Budget,
  hooks: Hooks,
  *,
  eval_every: int,
  checkpoint_every: int,
  clock: float | None = None,
) -> tuple[TrainState, Progress, bool]:
  """Trains until the budget is spent or someone asks for a stop.

  Args:
    dispatch: from `make_dispatch`.
    state: donated.
    progress: that of `state`.
    batches: `(count, stacked batches)` from step `progress.step` on, none of which
      crosses a multiple of `eval_every` or `checkpoint_every`.
    budget: when to end.
    hooks: what to call.
    eval_every: steps between evaluations.
    checkpoint_every: steps between checkpoints; 0 for none but the best and last.
    clock: the `time.monotonic()` from which this session counts; None: now.

  Returns:
    The state, its progress, and whether the budget is spent (false: interrupted).

  Raises:
    BadInput: when 50 steps in a row were not finite.
  """
  session = time.monotonic() if clock is None else clock
  started = session - progress.seconds
  pending: deque[tuple[int, int, StepMetrics]] = deque()
  recent = _Recent(progress)
  longest_evaluation = 0.0
  first = progress.step

  def elapsed() -> float:
    return time.monotonic() - started

  def drain(keep: int) -> None:
    nonlocal progress, recent
    while len(pending) > keep:
      step, count, metrics = pending.popleft()
      metrics = jax.tree.map(np.asarray, metrics)
      for record in _records(step, count, metrics):
        hooks.log(record)
      tokens = float(metrics.sums.count[:count].sum())
      progress = progress._replace(
        step=step + count, seconds=elapsed(), tokens=progress.tokens + tokens
      )
      if step == first:
        hooks.log({"step": progress.step, "start_seconds": time.monotonic() - session})
        recent = _Recent(progress)  # nor is what came before the first step
      else:
        recent.add(progress, float(metrics.sums.total[:count].sum()), tokens, hooks)
      if metrics.nonfinite[count - 1] >= PATIENCE_FOR_NONFINITE:
        raise BadInput(
          f"{PATIENCE_FOR_NONFINITE} steps in a row up to step {progress.step} had a "
          "loss or gradient that is not finite: lower --learning_rate or --clip_norm"
        )

  def evaluate() -> bool:
    """Evaluates, logs; true if it is a new best."""
    nonlocal progress, recent, longest_evaluation
    recent.flush(progress, hooks)
    before = elapsed()
    numbers = hooks.evaluate(state)
    longest_evaluation = max(longest_evaluation, elapsed() - before)
    numbers = {"step": progress.step, **numbers}
    plateau = progress.plateau.observe(numbers[hooks.objective])
    best = plateau.bad == 0
    progress = progress._replace(
      seconds=elapsed(),
      plateau=plateau,
      last=numbers,
      best=numbers if best else progress.best,
    )
    hooks.log(numbers)
    recent = _Recent(progress)  # evaluation is not training: it has no tokens a second
    return best

  def spent(step: int) -> bool:
    if budget.steps is not None and step >= budget.steps:
      return True
    if budget.patience and progress.plateau.bad >= budget.patience:
      return True
    limit = math.inf if budget.seconds is None else budget.seconds
    return hooks.late(elapsed() + longest_evaluation >= limit)

  step, done = progress.step, spent(progress.step)
  for count, batch in batches if not done else ():
    horizon = budget.horizon(step, elapsed())
    control = Control(*np.array([horizon, progress.plateau.scale], np.float32))
    state, metrics = dispatch(state, batch, np.int32(count), control)
    pending.append((step, count, metrics))
    step += count
    drain(keep=1)
    best, done = False, spent(step)
    if step % eval_every == 0 and not done:
      drain(keep=0)
      best, done = evaluate(), spent(step)
    if done or hooks.stop():
      break
    if best or (checkpoint_every and step % checkpoint_every == 0):
      drain(keep=0)
      hooks.save(state, progress, best)
  drain(keep=0)
  recent.flush(progress, hooks)
  best = progress.best.get("step") == progress.step
  if done and progress.last.get("step") != progress.step:
    best = evaluate()
  hooks.save(state, progress, best)
  return state, progress, done


def _records(step: int, count: int, metrics: StepMetrics) -> Iterable[dict[str, Any]]:
  losses = metrics.sums.total / np.maximum(metrics.sums.count, 1)
  for i in range(count):
    record = {
      "step": step + i + 1,
      "train/loss": float(losses[i]),
      "grad_norm": float(metrics.grad_norm[i]),
      "learning_rate": float(metrics.learning_rate[i]),
    }
    if metrics.nonfinite[i]:
      record["skipped"] = int(metrics.skipped[i])
    yield record


class _Recent:
  """Loss and speed over the last second or more, for the log and for eyes."""

  def __init__(self, progress: Progress):
    self._since = progress
    self._nats = 0.0

  def add(self, progress: Progress, nats: float, tokens: float, hooks: Hooks) -> None:
    self._nats += nats
    if progress.seconds - self._since.seconds >= 1:
      self.flush(progress, hooks)

  def flush(self, progress: Progress, hooks: Hooks) -> None:
    tokens = progress.tokens - self._since.tokens
    if not tokens:
      return
    speed = tokens / max(progress.seconds - self._since.seconds, 1e-9)
    hooks.log(
      {"step": progress.step, "seconds": progress.seconds, "tokens_per_second": speed}
    )
    hooks.show(progress, self._nats / tokens, speed)
    self._since, self._nats = progress, 0.0
