"""Where the arrays of one run lie: its batch is spread over devices and processes."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.session import gang
from experiments.session.evaluation import Pass, numbers
from experiments.session.pieces import Pieces
from experiments.session.programs import Programs, prepare
from experiments.session.settings import Settings
from experiments.session.task import Member, Size
from experiments.session.terminal import Display
from experiments.session.training import Training
from unroll import devices, loop
from unroll.data.batches import Source
from unroll.run import Progress
from unroll.train import Arm, TrainState, evaluated, evaluation, several
from unroll.types import Params

Restore = Callable[[TrainState], tuple[TrainState, Progress]]


class Alone:
  """One run in this process, or in several of which each has columns of the batch.

  It is made before JAX looks for its devices.

  Args:
    settings: of the run.
    size: of a training step.
    programs: makes those of the run; others may take their place until the first.
  """

  def __init__(self, settings: Settings, size: Size, programs: Programs | None = None):
    training = settings[Training]
    devices.keep_memory(training.batch, size.steps, size.units)
    processes = settings[gang.Processes].processes
    count = devices.divide(training.devices, training.batch, size.width, processes)
    self.spread = devices.Spread(count)
    self.columns = self.spread.columns(training.batch)
    self.programs = programs or Programs(None)
    self._made: dict[str, Any] = {}  # a run that comes later takes the same

  def lie(self, batch: int) -> str:
    """Where a batch lies, in words."""
    count, kind = self.spread.count, jax.devices()[0].device_kind
    return (
      f"{batch} sequences, {batch // count} on each of {count} devices; there are "
      f"{jax.device_count()} ({kind})"
    )

  def shapes(self, pieces: Pieces, arm: Arm) -> TrainState:
    """Those of the state before the first step."""
    return self._fresh(pieces).eval_shape(arm.seed)

  def fresh(self, pieces: Pieces, arms: Sequence[Arm]) -> list[TrainState]:
    """The state before the first step."""
    fresh = self._fresh(pieces)
    return [gang.shaped(lambda: fresh(arms[0].seed))]

  def prepare(self, pieces: Pieces, shapes: TrainState) -> None:
    """Compiles the training step in the background.

    Args:
      pieces: of the program.
      shapes: of the training state.
    """
    if jax.process_count() == 1:
      inputs = pieces.inputs(shapes, pieces.example, self.spread)
      prepare(self._step(pieces, shapes), inputs)

  def told(self, prepare: Callable[[], list[Path]]) -> list[Path]:
    """The folder that one process makes, in all of them."""
    return [Path(path) for path in gang.told(lambda: [str(p) for p in prepare()])]

  def restored(
    self, states: Sequence[TrainState], restores: Sequence[Restore]
  ) -> list[tuple[TrainState, Progress]]:
    """The state of the newest checkpoint, and its progress."""
    return [gang.restored(states[0], restores[0])]

  def placed(self, states: Sequence[TrainState]) -> TrainState:
    """The state on the devices."""
    return self.spread.put(states[0], self.spread.state(states[0]))

  def program(
    self, pieces: Pieces, members: Sequence[Member], state: TrainState
  ) -> loop.Program:
    """What the loop drives."""
    dispatch = self._step(pieces, state)
    arm, evaluate = self._whole(members[0].arm), self.evaluator(pieces, "val")
    watched = self._once(
      "watch",
      lambda: self.programs.of("watch", pieces.watched, shardings=self.spread.whole),
    )
    return loop.Program(
      dispatch=lambda state, batches, counts, controls: dispatch(
        arm, state, batches, *self._whole((np.int32(counts[0]), controls[0]))
      ),
      evaluate=lambda state: [evaluate(pieces.averaged(state))],
      split=lambda tree: [tree],
      watch=lambda state, batches: [jax.device_get(watched(state, batches))],
    )

  def agreed(self, program: loop.Program, stop: Callable[[], bool]) -> Any:
    """The program, `stop` and `late` of `loop.fit`, on which all processes agree."""
    return gang.agreed(self.spread, program, stop)

  def batches(
    self, members: Sequence[Member], dispatches: Callable[[Source], Iterable[Any]]
  ) -> Iterable[tuple[int, Any]]:
    """The training batches on the devices."""
    for count, batches in dispatches(members[0].source):
      yield count, self.spread.join(batches, 2)

  def evaluator(
    self, pieces: Pieces, split: str
  ) -> Callable[[Params], dict[str, float]]:
    """Compiles `params -> {"val/loss": …}`; {} where a task has no such split."""
    task = pieces.task
    if split not in task.evaluations:
      return lambda params: {}
    each = self._once(
      split,
      lambda: {
        name: self._sums(pieces, source)
        for name, source in task.evaluations[split].sources.items()
      },
    )

    def evaluate(params: Params) -> dict[str, float]:
      sums = {name: measure(params) for name, measure in each.items()}
      return numbers(task, split, sums, params)

    return evaluate

  def displays(
    self, display: Display, count: int
  ) -> list[Callable[[Progress, float, float], None]]:
    """What shows the progress of each run."""
    return [display.show] * count

  def _sums(self, pieces: Pieces, source: Source) -> Callable[[Params], Any]:
    def place(count: int, batches: Any) -> tuple[Any, Any]:
      number = jax.device_put(np.int32(count), self.spread.whole)
      return number, jax.device_put(batches, self.spread.batches(batches))

    batches, programs = Pass(source, place), list[Any]()

    def sums(params: Params) -> Any:
      if not programs:
        shapes = jax.eval_shape(lambda p: pieces.task.carry(p, source.rows), params)
        rows = jax.tree.map(lambda leaf: self.spread.rows(leaf, 0), shapes)
        start = self.programs.of(
          f"start of {source.rows}",
          lambda params: pieces.task.carry(params, source.rows),
          shardings=rows,
        )
        whole = evaluation(pieces.evaluated)
        run = self.programs.of("evaluate", whole, shardings=(rows, self.spread.whole))
        programs.append((start, run))
      [(start, run)] = programs
      return evaluated(run, params, start(params), batches)

    return sums

  def _fresh(self, pieces: Pieces) -> Any:
    return self._once("fresh", lambda: self.programs.of("fresh", pieces.fresh))

  def _step(self, pieces: Pieces, state: TrainState) -> Callable[..., Any]:
    """`train.several` steps; the state is donated."""
    shardings = (self.spread.state(state), self.spread.whole)
    steps = several(pieces.step_of)
    return self._once("step", lambda: self.programs.of("step", steps, (1,), shardings))

  def _once(self, name: str, make: Callable[[], Any]) -> Any:
    """What `make` gave the first time; one place has one task's programs."""
    if name not in self._made:
      self._made[name] = make()
    return self._made[name]

  def _whole(self, tree: Any) -> Any:
    """The same on every device: put there, as JAX may be told to move nothing."""
    if jax.process_count() > 1:  # the program places it, without waiting for a vote
      return tree
    return self.spread.put(tree, jax.tree.map(lambda leaf: self.spread.whole, tree))
