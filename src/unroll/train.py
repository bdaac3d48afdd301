"""The training step, several steps a dispatch, and evaluation: what is compiled."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll.gradients.scheme import ChunkLoss, Scheme
from unroll.optim import Optimizer, OptState, gradient_norm
from unroll.schedules import Schedule
from unroll.types import Array, Carry, Key, Params, Sums, seed


class TrainState(NamedTuple):
  """All that training changes, one pytree.

  Attributes:
    step: updates so far, int32 scalar; also the cursor of the data.
    params: the parameters.
    opt_state: the optimiser's.
    carry: the recurrent state that the next chunk starts from.
    nonfinite: steps skipped in a row because loss or gradient was not finite.
    skipped: steps skipped in all.
  """

  step: Array
  params: Params
  opt_state: OptState
  carry: Carry
  nonfinite: Array
  skipped: Array


class Arm(NamedTuple):
  """What may differ between runs of one program: scalars; several arms are `[arms]`.

  Attributes:
    seed: of all that is random, int32.
    learning_rate: at the top of the schedule.
    clip_norm: the clipping threshold; 0 turns clipping off.
  """

  seed: Array
  learning_rate: Array
  clip_norm: Array


class Control(NamedTuple):
  """What the host tells a dispatch: float32 scalars, see `schedules.schedule`."""

  horizon: Array
  scale: Array


class StepMetrics(NamedTuple):
  """What a step tells the host; scalars, or `[steps]` for a dispatch."""

  sums: Sums
  grad_norm: Array  # of all gradients, before clipping
  learning_rate: Array
  nonfinite: Array
  skipped: Array


Step = Callable[[TrainState, Any, Control], tuple[TrainState, StepMetrics]]


def initial_state(params: Params, optimizer: Optimizer, carry: Carry) -> TrainState:
  """The state before the first step; every leaf a buffer of its own, to be donated."""
  zero = jnp.zeros((), jnp.int32)
  state = TrainState(zero, params, optimizer.init(params), carry, zero, zero)
  return jax.tree.map(jnp.copy, state)


def make_step(
  loss: ChunkLoss, scheme: Scheme, optimizer: Optimizer, schedule: Schedule, key: Key
) -> Step:
  """Builds `(state, batch, control) -> (state, metrics)`, one update.

  A step whose loss or gradient is not finite changes nothing but the counters.

  Args:
    loss: `(params, carry, batch) -> (loss, (carry, sums))`.
    scheme: how its gradient is taken.
    optimizer: what is done with the gradient.
    schedule: the learning rate.
    key: step n draws from `fold_in(key, n)`.
  """
  estimate = scheme.estimator(loss)

  def step(state: TrainState, batch: Any, control: Control):
    carry = seed(state.carry, jax.random.fold_in(key, state.step))
    (value, (carry, sums)), grads = estimate(state.params, carry, batch)
    norm = gradient_norm(grads)
    rate = schedule(state.step, control.horizon, control.scale) * scheme.rate(batch)
    params, opt_state = optimizer.update(grads, state.opt_state, state.params, rate)

    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    new = (params, opt_state, seed(carry, None))
    old = (state.params, state.opt_state, state.carry)
    params, opt_state, carry = jax.tree.map(
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
    )
    return state, StepMetrics(sums, norm, rate, state.nonfinite, state.skipped)

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


def evaluation(loss: ChunkLoss) -> Callable[[Params, Carry, Any], Sums]:
  """Makes `(params, carry, batches) -> sums`, the carry passing through the batches.

  Args:
    loss: the chunk loss; batches are stacked on a leading axis.
  """

  def evaluate(params: Params, carry: Carry, batches: Any) -> Sums:
    def body(state, batch):
      carry, sums = state
      _, (carry, part) = loss(params, carry, batch)
      return (carry, sums + part), None

    return jax.lax.scan(body, (carry, Sums.zero()), batches)[0][1]

  return evaluate


def make_evaluate(loss: ChunkLoss, batches: Any) -> Callable[[Params, Carry], Sums]:
  """Compiles `(params, carry) -> sums` over batches, the carry passing through.

  Args:
    loss: the chunk loss.
    batches: batches stacked on a leading axis.
  """
  evaluate = jax.jit(evaluation(loss))
  return lambda params, carry: evaluate(params, carry, batches)
