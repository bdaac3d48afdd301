"""The pieces of the program that trains a task: its start, its step, its loss."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.session.settings import Settings
from experiments.session.task import MakeCarry, MakeLoss, Task
from experiments.session.training import Training, scheme_of
from experiments.session.transfer import Transfer
from unroll import devices, memory, remat
from unroll.gradients import ChunkLoss, Scheme
from unroll.gradients.scheme import duration
from unroll.train import (
  Arm,
  Control,
  Step,
  TrainState,
  initial_state,
  make_dispatch,
  make_step,
)
from unroll.types import Array, BadInput, Params


class Pieces(NamedTuple):
  """A task under the settings of its training.

  Attributes:
    task: what is trained.
    training: its settings.
    scheme: how the gradient is taken.
    loss: built for the scheme.
    carry: (parameters, B) -> the carry that it starts with.
    evaluated: the loss that is evaluated, of the task's own carry.
    multiples: of the learning rate, by parameter.
    example: a batch, of which only the shapes are read; None where nothing is trained.
  """

  task: Task
  training: Training
  scheme: Scheme
  loss: ChunkLoss
  carry: MakeCarry
  evaluated: ChunkLoss
  multiples: Callable[[Params, Array], Params] | None
  example: Any = None

  @classmethod
  def of(
    cls, task: Task, settings: Settings, plan: remat.Plan, example: Any = None
  ) -> "Pieces":
    """Builds the loss under a plan, for the backward pass of the scheme."""
    scheme = scheme_of(settings)
    evaluated = loss = task.loss(plan, scheme.backward)
    carry = task.carry
    if scheme.cell:
      carry, make = _around(task, settings, scheme)
      loss = make(plan, scheme.backward)
    multiples = settings[Transfer].multiples()
    return cls(
      *(task, settings[Training], scheme, loss, carry, evaluated, multiples, example)
    )

  def fresh(self, seed: Array) -> TrainState:
    """The state of a run before its first step."""
    params = self.task.init(jax.random.key(seed))
    carry = self.carry(params, self.training.batch)
    kept = self.scheme.estimator(self.loss).init(params, carry, self.example)
    return initial_state(params, self.training.make_optimizer(), carry, kept)

  def step_of(self, arm: Arm) -> Step:
    """The update of a run; within a program the arm is one of its inputs."""
    return make_step(
      self.loss,
      self.scheme,
      self.training.make_optimizer(arm, self.multiples),
      self.training.make_schedule(arm),
      jax.random.key(arm.seed + 1),
    )

  def watched(self, state: TrainState, batches: Any) -> Mapping[str, Array]:
    """What the task's `watch` says of a state, and the first of batches."""
    assert self.task.watch
    first = jax.tree.map(lambda leaf: leaf[0], batches)
    return self.task.watch.measure(state.params, state.carry, first)

  def averaged(self, state: TrainState) -> Params:
    """The parameters to evaluate: their moving average, if there is one."""
    return self.training.make_optimizer().averaged(state.opt_state, state.params)

  def check_size(self, state: TrainState, settings: Settings) -> None:
    """Refuses what cannot be trained.

    Args:
      state: the shapes of a fresh one.
      settings: of the run.

    Raises:
      BadInput: training cannot fit into memory.
    """
    leaves = [*jax.tree.leaves(state), *jax.tree.leaves(state.params)]  # and gradients
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    sized_by = [*self.task.sized_by, "batch"]
    parallel = self.scheme.backward == "parallel"
    if parallel:
      needed += self._jacobians(state)
    if parallel or jax.tree.leaves(state.memory):
      sized_by.append("truncation")
    memory.check(needed, settings.shown(*sized_by))
    if self.scheme.cell:  # which may refuse a cell when it steps
      jax.eval_shape(self.loss, state.params, state.carry, self.example)

  def _jacobians(self, state: TrainState) -> int:
    """Bytes of those that a batch has at least: of each state to itself, every step."""
    rows = self.training.batch
    widths = [leaf.size // rows for leaf in jax.tree.leaves(state.carry) if leaf.ndim]
    return 4 * duration(self.example) * rows * sum(width**2 for width in widths)

  def inputs(self, state: TrainState, batch: Any, spread: devices.Spread) -> Any:
    """The shapes of what `train.several` takes, and where they lie.

    Args:
      state: shapes of the training state.
      batch: one like those that it is trained on.
      spread: over the devices.
    """
    steps = self.training.dispatch
    batches = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct((steps, *leaf.shape), leaf.dtype), batch
    )
    state, batches = jax.tree.map(
      lambda leaf, how: leaf.update(sharding=how),
      (state, batches),
      (spread.state(state), spread.batches(batches)),
    )
    control = Control(*np.ones(len(Control._fields), np.float32))
    arm, count, control = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct((), leaf.dtype, sharding=spread.whole),
      (self.training.arm(), np.int32(1), control),
    )
    return arm, state, batches, count, control

  def lowered(
    self, batch: Any, spread: devices.Spread, settings: Settings
  ) -> jax.stages.Lowered:
    """The program that trains on batches like this one, not compiled yet."""
    state = jax.eval_shape(self.fresh, self.training.arm().seed)
    self.check_size(state, settings)
    dispatch = make_dispatch(self.step_of, (spread.state(state), spread.whole))
    return dispatch.lower(*self.inputs(state, batch, spread))


def _around(
  task: Task, settings: Settings, scheme: Scheme
) -> tuple[MakeCarry, MakeLoss]:
  """The carry and the loss of a task with the cells that a scheme asks for."""
  found = task.around and task.around(scheme)
  if not found:
    raise BadInput(
      f"{settings.shown('truncation')} takes recurrent layers that read from left to "
      "right, without noise on their weights: use another model, or tbptt:K"
    )
  return found


def parameters(state: TrainState) -> int:
  """How many numbers a run trains."""
  return sum(leaf.size for leaf in jax.tree.leaves(state.params))
