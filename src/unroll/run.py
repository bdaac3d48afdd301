"""One run: where it is, and what is told of it.

Of models, files and flags it knows nothing, and neither does `loop`, which moves it on.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from unroll.metrics import Measure
from unroll.schedules import NonMonotone, Plateau
from unroll.train import Control, StepMetrics
from unroll.types import BadInput, Better, Sums

PATIENCE_FOR_NONFINITE = 50  # steps in a row


class Progress(NamedTuple):
  """What the host remembers of a run: JSON, kept beside the state.

  Attributes:
    step: updates so far.
    seconds: wall clock so far.
    targets: those counted so far.
    plateau: how the objective has fared.
    last: the last evaluation's numbers, with its step.
    best: the best evaluation's numbers, with its step.
    trigger: when the averaging of parameters begins.
    unwatched: updates since gradients were last looked at, and how many of them were
      clipped.
    online: total and count of the sums of all updates, by name, numbers or lists of
      them, where updates are judged by what was predicted before they were made.
  """

  step: int
  seconds: float
  targets: float
  plateau: Plateau
  last: dict[str, float]
  best: dict[str, float]
  trigger: NonMonotone = NonMonotone()
  unwatched: tuple[int, int] = (0, 0)
  online: Mapping[str, Sequence[Any]] = {}

  def to_json(self) -> dict[str, Any]:
    """Plain dicts and numbers."""
    both = {name: getattr(self, name)._asdict() for name in ("plateau", "trigger")}
    return {**self._asdict(), **both}

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> "Progress":
    """Reads what `to_json` gave.

    Older versions called targets tokens, and had neither trigger, `unwatched` nor
    `online`.
    """
    targets = data["tokens"] if "tokens" in data else data["targets"]
    trigger = NonMonotone(**data.get("trigger", {}))
    own = {"targets": targets, "plateau": Plateau(**data["plateau"])}
    own["trigger"] = trigger._replace(values=tuple(trigger.values))
    own["unwatched"] = tuple(data.get("unwatched", (0, 0)))
    own["online"] = data.get("online", {})
    return cls(
      **{name: own[name] if name in own else data[name] for name in cls._fields}
    )


class Objective(NamedTuple):
  """The number of an evaluation that chooses the best one.

  Attributes:
    name: of the number, such as "val/loss".
    better: which of two values is the better one.
  """

  name: str
  better: Better = "lower"


class Hooks(NamedTuple):
  """What the loop calls for a run, so that it knows neither files nor models.

  Attributes:
    objective: what chooses the best evaluation.
    save: `(state, progress, best)`; must copy the state, which is donated next.
    log: takes one record, `{"step": n, …}`; one of them has the "start_seconds" that
      passed before the first step of this session was done.
    show: `(progress, recent mean loss, targets per second)`, for eyes only.
    check: called about once a second; raises OSError where no save can succeed any
      more, so that a run does not go on for nothing until the next one.
    measures: logged for each step as "train/<name>", beside "train/loss"; all that
      they read must be in the sums of the training loss.
    counted: the plural of what a target is; the speed is logged as
      "<counted>_per_second".
    clip_norm: of the norm of all gradients, above which an update counts as clipped;
      0: none is counted.
    online: measures of all updates so far, of what the parameters predicted before each
      (the prequential error): "online/<name>" beside the numbers of an evaluation.
      The newest parameters are then the best.
  """

  objective: Objective
  save: Callable[[Any, Progress, bool], None]
  log: Callable[[dict[str, Any]], None]
  show: Callable[[Progress, float, float], None]
  check: Callable[[], None]
  measures: tuple[Measure, ...] = ()
  counted: str = "targets"
  clip_norm: float = 0.0
  online: tuple[Measure, ...] = ()


class Run:
  """One run in the loop: where it is, and what is told of it.

  Args:
    progress: where it starts from.
    hooks: what to call.
    clock: the `time.monotonic()` from which this session counts; None: now.

  Attributes:
    progress: where it is, as far as its numbers have been read.
    error: why it ended early, 50 steps in a row that were not finite; or None.
  """

  def __init__(self, progress: Progress, hooks: Hooks, clock: float | None = None):
    self.progress = progress
    self.error: BadInput | None = None
    self._hooks, self._first = hooks, progress.step
    self._session = time.monotonic() if clock is None else clock
    self._started = self._session - progress.seconds
    self._recent = _Recent(progress)

  def elapsed(self) -> float:
    """Wall clock since the run began, over all its restarts."""
    return time.monotonic() - self._started

  def takes(self, step: int) -> bool:
    """Whether it goes on from `step`, or has been further or ended: it waits then."""
    return self.error is None and self._first <= step

  def reaches(self, step: int) -> bool:
    """Whether it came to `step` in this session."""
    return self.error is None and self._first < step

  def absorb(self, step: int, count: int, metrics: StepMetrics) -> None:
    """Takes and logs the numbers of `count` steps from `step` on."""
    if self.error:
      return
    metrics = jax.device_get(metrics)
    for record in _records(step, count, metrics, self._hooks.measures):
      self._hooks.log(record)
    self._count_clipped(metrics.grad_norm[:count])
    if self._hooks.online:
      self._add(jax.tree.map(lambda leaf: leaf[:count], metrics.sums))
    loss = metrics.sums["loss"]
    targets = self.progress.targets + float(loss.count[:count].sum())
    self.progress = self.progress._replace(
      step=step + count, seconds=self.elapsed(), targets=targets
    )
    if step == self._first:
      start = time.monotonic() - self._session
      self._hooks.log({"step": self.progress.step, "start_seconds": start})
      self._recent = _Recent(self.progress)  # nor is what came before the first step
    else:
      self._recent.add(self.progress, float(loss.total[:count].sum()), self._hooks)
    if metrics.nonfinite[count - 1] >= PATIENCE_FOR_NONFINITE:
      self.error = BadInput(
        f"{PATIENCE_FOR_NONFINITE} steps in a row up to step {self.progress.step} had "
        "a loss or gradient that is not finite: lower the learning rate, or clip "
        "gradients at a lower norm"
      )

  def control(self, horizon: float) -> Control:
    """What the next dispatch is told, with the step at which training is to end."""
    scale, begun = self.progress.plateau.scale, self.progress.trigger.begun
    averages_from = math.inf if begun is None else begun
    return Control(*np.array([horizon, scale, averages_from], np.float32))

  def flush(self) -> None:
    """Tells the speed of what has not been told yet."""
    self._recent.flush(self.progress, self._hooks)

  def observe(self, numbers: dict[str, float]) -> None:
    """Takes and logs an evaluation."""
    online = {
      name: Sums(np.array(total), np.array(count))  # type: ignore[arg-type]
      for name, (total, count) in self.progress.online.items()
    }
    told = {f"online/{m.name}": m.of(online) for m in self._hooks.online}
    numbers = {"step": self.progress.step, **numbers, **told}
    name, better = self._hooks.objective
    plateau = self.progress.plateau.observe(numbers[name], better)
    self.progress = self.progress._replace(
      seconds=self.elapsed(),
      plateau=plateau,
      trigger=self.progress.trigger.observe(numbers[name], self.progress.step, better),
      last=numbers,
      best=self.progress.best if plateau.bad and not told else numbers,
    )
    self._hooks.log(numbers)
    self._recent = _Recent(self.progress)  # evaluation has no targets a second

  def watched(self, numbers: Mapping[str, Any]) -> None:
    """Logs a look at gradients before an update, as of its step.

    "updates_clipped" is the share of the updates since the last look.
    """
    record: dict[str, Any] = {"step": self.progress.step + 1}
    record |= {name: float(number) for name, number in numbers.items()}
    updates, clipped = self.progress.unwatched
    if updates:
      record["updates_clipped"] = clipped / updates
    self._hooks.log(record)
    self.progress = self.progress._replace(unwatched=(0, 0))

  def _add(self, sums: Mapping[str, Sums]) -> None:
    """Adds the sums of steps, but of those that were not finite."""
    online = dict(self.progress.online)
    for name, both in sums.items():
      finite = np.isfinite(both.total.reshape(len(both.total), -1)).all(axis=1)
      new = [np.sum(part[finite], axis=0, dtype=np.float64) for part in both]
      before = online.get(name, (0.0, 0.0))
      online[name] = tuple(np.add(*pair).tolist() for pair in zip(before, new))
    self.progress = self.progress._replace(online=online)

  def _count_clipped(self, norms: Any) -> None:
    if limit := self._hooks.clip_norm:
      updates, clipped = self.progress.unwatched
      unwatched = (updates + len(norms), clipped + int(np.sum(norms > limit)))
      self.progress = self.progress._replace(unwatched=unwatched)

  @property
  def evaluated(self) -> bool:
    """Whether the last evaluation is of where it is."""
    return self.progress.last.get("step") == self.progress.step

  @property
  def best(self) -> bool:
    """Whether the best evaluation is of where it is."""
    return self.progress.best.get("step") == self.progress.step

  def save(self, state: Any) -> None:
    """Saves the state that belongs to where it is."""
    self._hooks.save(state, self.progress, self.best)


def _records(
  step: int, count: int, metrics: StepMetrics, measures: Sequence[Measure]
) -> Iterable[dict[str, Any]]:
  loss = metrics.sums["loss"]
  losses = loss.total / np.maximum(loss.count, 1)
  for i in range(count):
    record = {
      "step": step + i + 1,
      "train/loss": float(losses[i]),
      "grad_norm": float(metrics.grad_norm[i]),
      "learning_rate": float(metrics.learning_rate[i]),
    }
    sums = jax.tree.map(lambda leaf, i=i: leaf[i], metrics.sums) if measures else {}
    record |= {f"train/{measure.name}": measure.of(sums) for measure in measures}
    if metrics.nonfinite[i]:
      record["skipped"] = int(metrics.skipped[i])
    yield record


class _Recent:
  """Loss and speed over the last second or more, for the log and for eyes."""

  def __init__(self, progress: Progress):
    self._since = progress
    self._loss = 0.0  # summed over targets

  def add(self, progress: Progress, loss: float, hooks: Hooks) -> None:
    self._loss += loss
    if progress.seconds - self._since.seconds >= 1:
      self.flush(progress, hooks)

  def flush(self, progress: Progress, hooks: Hooks) -> None:
    targets = progress.targets - self._since.targets
    if not targets:
      return
    speed = targets / max(progress.seconds - self._since.seconds, 1e-9)
    rate = f"{hooks.counted}_per_second"
    hooks.log({"step": progress.step, "seconds": progress.seconds, rate: speed})
    hooks.show(progress, self._loss / targets, speed)
    hooks.check()
    self._since, self._loss = progress, 0.0
