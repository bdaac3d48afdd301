"""Where the arrays of many runs in one program lie: every device trains whole arms.

  python -m experiments.charlm --hidden=64 --steps=300 --arms=arms.json --json

The settings of the command are those of every arm; `armfile` says what the file holds.
An arm's folder is that of the same run alone: either way of running goes on with it.
Arms that were stopped at different steps wait for each other.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.session.evaluation import Pass, numbers
from experiments.session.pieces import Pieces
from experiments.session.settings import Settings
from experiments.session.task import Member, Size
from experiments.session.terminal import Display
from experiments.session.training import Training
from unroll import devices, loop
from unroll.arms import Arms, one_by_one
from unroll.data.batches import ALL, Source, Stacked
from unroll.run import Progress
from unroll.train import Arm, TrainState, evaluated, evaluation, several
from unroll.types import Params


class Together:
  """Many runs in one process, side by side; see `Alone`, whose place it takes.

  Args:
    settings: that the runs share.
    size: of a training step of one run.
    count: how many runs.
  """

  columns = ALL

  def __init__(self, settings: Settings, size: Size, count: int):
    training = settings[Training]
    devices.keep_memory(training.batch, size.steps, size.units)
    several = devices.divide_arms(training.devices, count)
    self._count, self._several = count, several
    looped = one_by_one(training.batch * size.width)
    self._group = Arms(count, several, looped=looped)
    self.spread = devices.Spread(1)  # a device trains whole arms

  def lie(self, batch: int) -> str:
    """Where a batch of an arm lies, in words."""
    kind = jax.devices()[0].device_kind
    each = f"{batch} sequences of each of {self._count} arms"
    return f"{each}, whole arms on each of {self._several} devices ({kind})"

  def shapes(self, pieces: Pieces, arm: Arm) -> TrainState:
    """Those of the state of one run before its first step."""
    return jax.eval_shape(pieces.fresh, arm.seed)

  def fresh(self, pieces: Pieces, arms: Sequence[Arm]) -> list[TrainState]:
    """The states before the first step, by one program for all seeds; on the host."""

    @jax.jit
    def fresh(seeds):
      return jax.lax.map(pieces.fresh, seeds)

    seeds = jax.device_put(np.array([arm.seed for arm in arms]))
    states = jax.device_get(fresh(seeds))
    return [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(len(arms))]

  def prepare(self, pieces: Pieces, shapes: TrainState) -> None:
    """Nothing: what trains many runs is compiled when it is called."""

  def told(self, prepare: Callable[[], list[Path]]) -> list[Path]:
    """The folders of the runs."""
    return prepare()

  def restored(
    self, states: Sequence[TrainState], restores: Sequence[Callable[..., Any]]
  ) -> list[tuple[TrainState, Progress]]:
    """The state of each run's newest checkpoint, and its progress."""
    return [restore(state) for restore, state in zip(restores, states)]

  def placed(self, states: Sequence[TrainState]) -> TrainState:
    """The states as one, arms first, on the devices."""
    return self._group.stack(states)

  def program(
    self, pieces: Pieces, members: Sequence[Member], state: TrainState
  ) -> loop.Program:
    """What the loop drives."""
    group, axis = self._group, self._shared(members)[1]
    advance = group.program(several(pieces.step_of), (0, 0, axis, 0, 0), donate=(1,))
    own = group.stack([member.arm for member in members])

    def dispatch(state, batches, counts, controls):
      steps = group.stack([np.int32(count) for count in counts])
      return advance(own, state, batches, steps, group.stack(controls))

    evaluate = self.evaluator(pieces, "val")
    watched = group.program(pieces.watched, (0, axis))
    return loop.Program(
      dispatch,
      lambda state: evaluate(pieces.averaged(state)),
      group.split,
      lambda state, batches: group.split(watched(state, batches)),
    )

  def agreed(self, program: loop.Program, stop: Callable[[], bool]) -> Any:
    """The program, `stop` and `late` of `loop.fit`."""
    return program, stop, lambda late: late

  def batches(
    self, members: Sequence[Member], dispatches: Callable[[Source], Iterable[Any]]
  ) -> Iterable[tuple[int, Any]]:
    """The training batches on the devices."""
    source, axis = self._shared(members)
    for count, batches in dispatches(source):
      yield count, jax.device_put(batches, self._group.sharding(axis))

  def evaluator(
    self, pieces: Pieces, split: str
  ) -> Callable[[Params], list[dict[str, float]]]:
    """Compiles `params -> [{"val/loss": …} of each arm]`."""
    task = pieces.task
    each = {
      name: self._sums(pieces, source)
      for name, source in task.evaluations[split].sources.items()
    }

    def evaluate(params: Params) -> list[dict[str, float]]:
      sums = {name: measure(params) for name, measure in each.items()}
      found = []
      for arm in range(self._group.count):
        own = jax.tree.map(lambda leaf, arm=arm: leaf[arm], sums)
        mine = functools.partial(jax.tree.map, lambda leaf, arm=arm: leaf[arm])
        found.append(numbers(task, split, own, mine(params) if task.judge else None))
      return found

    return evaluate

  def displays(
    self, display: Display, count: int
  ) -> list[Callable[[Progress, float, float], None]]:
    """What shows the least of all losses, and the speed of all arms."""
    latest: dict[int, tuple[float, float]] = {}

    def show(number: int, progress: Progress, loss: float, speed: float) -> None:
      latest[number] = loss, speed
      losses, speeds = zip(*latest.values())
      least = min(filter(math.isfinite, losses), default=math.nan)
      display.show(progress._replace(last={}), least, sum(speeds))

    return [functools.partial(show, number) for number in range(count)]

  def _sums(self, pieces: Pieces, source: Source) -> Callable[[Params], Any]:
    shared = self._group.sharding(None)
    start = self._group.program(
      lambda params: pieces.task.carry(params, source.rows), (0,)
    )
    run = self._group.program(evaluation(pieces.evaluated), (0, 0, None, None))
    batches = Pass(
      source, lambda *both: jax.device_put((np.int32(both[0]), both[1]), shared)
    )
    return lambda params: evaluated(run, params, start(params), batches)

  def _shared(self, members: Sequence[Member]) -> tuple[Source, int | None]:
    """The batches of all arms and the axis of the arms in them; None: they share."""
    sources = [member.source for member in members]
    if len({repr(source) for source in sources}) == 1:
      return sources[0], None
    return Stacked(self._group.filled(sources)), 1
