"""The training step, several steps a dispatch, and evaluation: what is compiled."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unroll.gradients.scheme import ChunkLoss, Memory, Scheme, no_sums
from unroll.optim import Optimizer, OptState, gradient_norm
from unroll.schedules import Schedule
from unroll.types import Array, Carry, Key, Params, Sums, added, seed

# A step's key gives each draw of the carry one by its place there, and the estimator
# one by this number: no carry has as many places.
ESTIMATOR = 2**31 - 1


class TrainState(NamedTuple):
  """All that training changes, one pytree.

  Attributes:
    step: updates so far, int32 scalar; also the cursor of the data.
    params: the parameters.
    opt_state: the optimiser's.
    carry: the recurrent state that the next chunk starts from.
    nonfinite: steps skipped in a row because loss or gradient was not finite.
    skipped: steps skipped in all.
    memory: what the gradient's estimator keeps; most keep nothing.
  """

  step: Array
  params: Params
  opt_state: OptState
  carry: Carry
  nonfinite: Array
  skipped: Array
  memory: Memory = ()


class Arm(NamedTuple):
  """What may differ between runs of one program: scalars.

  Attributes:
    seed: of all that is random, int32.
    learning_rate: at the top of the schedule.
    clip_norm: the clipping threshold; 0 turns clipping off.
  """

  seed: Array
  learning_rate: Array
  clip_norm: Array


class Control(NamedTuple):
  """What the host tells a dispatch: float32 scalars.

  Attributes:
    horizon: see `schedules.schedule`.
    scale: see `schedules.schedule`.
    begun: the updates before those whose parameters are averaged; inf for all.
  """

  horizon: Array
  scale: Array
  begun: Any = np.float32(np.inf)


class StepMetrics(NamedTuple):
  """What a step tells the host; scalars, or `[steps]` for a dispatch."""

  sums: dict[str, Sums]  # those of the chunk loss
  grad_norm: Array  # of all gradients, before clipping
  learning_rate: Array
  nonfinite: Array
  skipped: Array


Step = Callable[[TrainState, Any, Control], tuple[TrainState, StepMetrics]]


def initial_state(
  params: Params, optimizer: Optimizer, carry: Carry, memory: Memory = ()
) -> TrainState:
  """The state before the first step; every leaf a buffer of its own, to be donated.

  Args:
    params: the parameters.
    optimizer: what will be done with gradients.
    carry: the recurrent state that the first chunk starts from.
    memory: what `Estimator.init` of the scheme's estimator makes of both.
  """
  zero = jnp.zeros((), jnp.int32)
  state = TrainState(zero, params, optimizer.init(params), carry, zero, zero, memory)
  return jax.tree.map(jnp.copy, state)


def make_step(
  loss: ChunkLoss, scheme: Scheme, optimizer: Optimizer, schedule: Schedule, key: Key
) -> Step:
  """Builds `(state, batch, control) -> (state, metrics)`, one update.

  A step whose loss or gradient is not finite changes nothing but the counters.

  Args:
    loss: the chunk loss, built for `scheme.backward`.
    scheme: how its gradient is taken.
    optimizer: what is done with the gradient.
    schedule: the learning rate.
    key: step n draws from `fold_in(key, n)`.
  """
  estimate = scheme.estimator(loss).estimate

  def step(state: TrainState, batch: Any, control: Control):
    drawn = jax.random.fold_in(key, state.step)
    found = estimate(
      state.params,
      seed(state.carry, drawn),
      state.memory,
      batch,
      jax.random.fold_in(drawn, ESTIMATOR),
    )
    norm = gradient_norm(found.grads)
    rate = schedule(state.step, control.horizon, control.scale) * scheme.rate(batch)
    params, opt_state = optimizer.update(
      found.grads, state.opt_state, state.params, rate, control.begun
    )

    finite = jnp.isfinite(found.value) & jnp.isfinite(norm)
    new = (params, opt_state, seed(found.carry, None), found.memory)
    old = (state.params, state.opt_state, state.carry, state.memory)
    params, opt_state, carry, memory = jax.tree.map(
      lambda n, o: jnp.where(finite, n, o), new, old
    )
    missed = (~finite).astype(jnp.int32)
    state = TrainState(
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      carry=carry,
      nonfinite=(state.nonfinite + missed) * missed,
      skipped=state.skipped + missed,
      memory=memory,
    )
    return state, StepMetrics(found.sums, norm, rate, state.nonfinite, state.skipped)

  return step


def several(step_of: Callable[[Arm], Step]):
  """Makes `(arm, state, batches, count, control) -> (state, metrics [steps])`.

  `batches` hold one batch for each of a fixed number of steps, of which the first
  `count` are taken: any count, and any arm, runs the same program.

  Args:
    step_of: the step of an arm, from `make_step`.
  """

  def dispatch(arm: Arm, state: TrainState, batches: Any, count: Array, control):
    step = step_of(arm)
    first = jax.tree.map(lambda leaf: leaf[0], batches)
    shapes = jax.eval_shape(step, state, first, control)[1]
    size = len(jax.tree.leaves(batches)[0])
    metrics = jax.tree.map(lambda m: jnp.zeros((size, *m.shape), m.dtype), shapes)

    def body(i, both):
      state, metrics = both
      batch = jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), batches
      )
      state, new = step(state, batch, control)
      return state, jax.tree.map(lambda all, one: all.at[i].set(one), metrics, new)

    return jax.lax.fori_loop(0, count, body, (state, metrics))

  return dispatch


def make_dispatch(step_of: Callable[[Arm], Step], shardings: Any = None):
  """Compiles `several` steps; the state is donated.

  Args:
    step_of: the step of an arm, from `make_step`.
    shardings: of the state and of the metrics that come out; None: as they come.
  """
  return jax.jit(several(step_of), donate_argnums=1, out_shardings=shardings)


def evaluation(loss: ChunkLoss):
  """Makes `(params, carry, batches, count) -> (carry, sums)`.

  The carry passes through the first `count` of the batches, and their sums are added
  up in turn. Any count runs the same program.

  Args:
    loss: the chunk loss; batches are stacked on a leading axis.
  """

  def evaluate(params: Params, carry: Carry, batches: Any, count: Array):
    def at(i):
      return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), batches
      )

    def body(i, state):
      carry, sums = state
      _, (carry, part) = loss(params, carry, at(i))
      return carry, added(sums, part)

    start = (carry, no_sums(loss, params, carry, at(0)))
    return jax.lax.fori_loop(0, count, body, start)

  return evaluate


def make_evaluate(loss: ChunkLoss, shardings: Any = None):
  """Compiles `evaluation`: one program for all dispatches of one shape.

  Args:
    loss: the chunk loss.
    shardings: of the carry and of the sums that come out; None: as they come.
  """
  return jax.jit(evaluation(loss), out_shardings=shardings)


def evaluated(
  evaluate: Callable[..., tuple[Carry, dict[str, Sums]]],
  params: Params,
  carry: Carry,
  dispatches: Iterable[tuple[Any, Any]],
) -> dict[str, Sums]:
  """The sums of all dispatches, the carry passing from each to the next.

  A dispatch is added up on the device in float32, and dispatches on the host in
  float64: float32 alone would lose digits beyond some ten million targets. The sums
  of one dispatch are the device's own. While a dispatch runs, the next is prepared,
  and no more than that, so that few of them are in memory at once.

  Args:
    evaluate: from `make_evaluate`.
    params: the parameters.
    carry: what the first batch starts from.
    dispatches: `(count, batches)`, see `data.prefetch.epoch`; both as the program
      takes them.

  Returns:
    Sums of NumPy arrays, float32.
  """
  total: dict[str, Sums] = {}
  running: dict[str, Sums] = {}
  for count, batches in dispatches:
    carry, sums = evaluate(params, carry, batches, count)
    total, running = added(total, _on_host(running)), sums
  total = added(total, _on_host(running))
  return jax.tree.map(np.float32, total)


def _on_host(sums: dict[str, Sums]) -> dict[str, Sums]:
  return jax.tree.map(np.float64, jax.device_get(sums))
