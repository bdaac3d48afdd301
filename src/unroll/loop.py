"""The loop around the training step, of one run or of several side by side.

It keeps the device busy: a dispatch's numbers are read only once the next one is
under way.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from unroll.run import Run
from unroll.train import Control


class Budget(NamedTuple):
  """When training ends: after a number of steps or seconds, whichever comes first.

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


class Program(NamedTuple):
  """The program that the loop drives: the runs of one state, which advance together.

  Attributes:
    dispatch: `(state, batches, counts, controls) -> (state, metrics)`, a count and a
      control for each run; one whose count is 0 takes no step. The state is donated.
    evaluate: `state -> [{name: number} of each run]`.
    split: that of each run in a state, or in metrics.
    watch: `(state, batches) -> [{name: number} of each run]`, of the state and the
      first of the batches that it is to be trained on next.
  """

  dispatch: Callable[[Any, Any, list[int], list[Control]], tuple[Any, Any]]
  evaluate: Callable[[Any], Sequence[dict[str, float]]]
  split: Callable[[Any], Sequence[Any]]
  watch: Callable[[Any, Any], Sequence[Mapping[str, Any]]] = lambda state, batches: ()


def fit(
  program: Program,
  state: Any,
  runs: Sequence[Run],
  batches: Iterable[tuple[int, Any]],
  budget: Budget,
  *,
  stop: Callable[[], bool],
  eval_every: int,
  checkpoint_every: int,
  watch_every: int = 0,
  late: Callable[[bool], bool] = lambda late: late,
) -> tuple[Any, bool]:
  """Trains until the budget is spent or someone asks for a stop.

  Runs may start from different steps: those ahead wait until the others have come to
  where they are. A run with 50 steps in a row that were not finite ends with an error;
  the others go on.

  Args:
    program: what is trained.
    state: donated.
    runs: those of the program, in its order.
    batches: `(count, stacked batches)` from the least step of the runs on, none of
      which crosses the step of a run or a multiple of `eval_every`,
      `checkpoint_every` or `watch_every`. Their end, where they have one before the
      budget's, is that of training; on a stop they end as well.
    budget: when to end; for several runs in steps, so that all end together.
    stop: true once someone asked for a stop.
    eval_every: steps between evaluations.
    checkpoint_every: steps between checkpoints; 0 for none but the best and last.
    watch_every: steps between calls of the program's `watch`; 0 for none.
    late: whether time is up, from what this process's clock says of that: processes
      that train together must end together.

  Returns:
    The state, and whether the budget is spent (false: interrupted).
  """
  pending: deque[tuple[int, list[int], Any]] = deque()
  longest_evaluation = 0.0

  def drain(keep: int) -> None:
    while len(pending) > keep:
      step, counts, metrics = pending.popleft()
      for run, count, own in zip(runs, counts, program.split(metrics)):
        if count:
          run.absorb(step, count, own)

  def evaluate(some: Sequence[Run]) -> None:
    nonlocal longest_evaluation
    if not some:
      return
    for run in some:
      run.flush()
    before = time.monotonic()
    found = program.evaluate(state)
    longest_evaluation = max(longest_evaluation, time.monotonic() - before)
    for run, numbers in zip(runs, found):
      if run in some:
        run.observe(numbers)

  def save(some: Sequence[Run]) -> None:
    if not some:
      return
    for run, own in zip(runs, program.split(state)):
      if run in some:
        run.save(own)

  def watch(batch: Any) -> None:
    drain(keep=0)
    for run, numbers in zip(runs, program.watch(state, batch)):
      if run.takes(step):
        run.watched(numbers)

  def spent(step: int) -> bool:
    if budget.steps is not None and step >= budget.steps:
      return True
    bad = min(run.progress.plateau.bad for run in runs)
    if budget.patience and bad >= budget.patience:
      return True
    limit = math.inf if budget.seconds is None else budget.seconds
    run_out = max(run.elapsed() for run in runs) + longest_evaluation >= limit
    return late(run_out)

  step = min(run.progress.step for run in runs)
  done, begun = spent(step), False
  for count, batch in batches if not done else ():
    if watch_every and step % watch_every == 0:
      watch(batch)
    counts = [count if run.takes(step) else 0 for run in runs]
    controls = [run.control(budget.horizon(step, run.elapsed())) for run in runs]
    state, metrics = program.dispatch(state, batch, counts, controls)
    pending.append((step, counts, metrics))
    step += count
    drain(keep=int(begun))  # the first is shown at once: so far all is well
    begun = True
    done = spent(step)
    evaluating = step % eval_every == 0 and not done
    if evaluating:
      drain(keep=0)
      evaluate([run for run in runs if run.reaches(step)])
      done = spent(step)
    if done or stop() or all(run.error for run in runs):
      break
    periodic = checkpoint_every and step % checkpoint_every == 0
    if evaluating or periodic:
      drain(keep=0)
      here = [run for run in runs if run.reaches(step)]
      save([run for run in here if periodic or run.best])
  else:  # the batches have an end of their own, unless they ended for a stop
    done = done or not stop()
  drain(keep=0)
  left = [run for run in runs if not run.error]
  for run in left:
    run.flush()
  if done and (behind := [run for run in left if not run.evaluated]):
    evaluate(behind)
  save(left)
  return state, done
