"""Clipping in the recurrence: dL/dcarry held below a limit at every step back in time.

`optim` clips the gradient of a whole chunk, summed over its steps, where one step that
explodes has drowned the others. Here the gradient is clipped on its way, before it
reaches the steps further back, so that they all count.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from unroll.states import is_aside, is_state
from unroll.types import Array, BadInput, Carry, Cell, Derivative, Params

BY = ("value", "norm")


def clipped_state(cell: Cell, limit: float, by: str = "value") -> Cell:
  """The cell whose gradient is clipped where it leaves a step for the one before.

  Outputs, states and parameters are those of the cell. What flows back from a step
  into the carry that it read is clipped; a step that is not valid hands it on as it
  came. Draws and what a carry notes of its inputs are left alone. The gradient is then
  that of no function: forward mode is refused, and a second derivative is that of the
  clipped gradient.

  The cell keeps a derivative by hand. One that is linear in its carry, or takes many
  steps at once, takes single steps, since each of them clips.

  Args:
    cell: the cell.
    limit: above 0, in the unit of the loss per that of the state. The mean loss of a
      chunk has small gradients at a carry: of the order of 1 / (T B).
    by: "value": every element is clipped to [-limit, limit] (Graves 2013); "norm": the
      gradient to all states of a sequence of the batch is scaled down to the limit
      where its norm is larger, as Pascanu et al. (2013) do to the whole gradient.

  Raises:
    BadInput: the limit is not a positive number, or `by` is neither of the two.
  """
  if not 0 < limit < math.inf:
    raise BadInput(f"carry_clip={limit} must be a positive number")
  if by not in BY:
    raise BadInput(f"carry_clip_by={by} is unknown: use one of {', '.join(BY)}")

  def clip(gradient: Carry) -> Carry:
    nodes, treedef = jax.tree.flatten(gradient, is_leaf=is_aside)
    places = [i for i, node in enumerate(nodes) if is_state(node)]
    states = [nodes[i] for i in places]
    for i, state in zip(places, _clipped(states, limit, by)):
      nodes[i] = state
    return jax.tree.unflatten(treedef, nodes)

  @jax.custom_vjp
  def read(carry: Carry) -> Carry:
    return carry

  read.defvjp(lambda carry: (carry, None), lambda _, gradient: (clip(gradient),))

  def step(params: Params, carry: Carry, z: Array, *context: Any):
    return cell.step(params, read(carry), z, *context)

  inner = cell.derivative
  derivative = inner and inner._replace(backward=_backward(inner, clip))
  return cell._replace(step=step, derivative=derivative, linear=None, chunk=None)


def _backward(inner: Derivative, clip):
  def backward(*given):
    d_before, d_saved = inner.backward(*given)
    return clip(d_before), d_saved

  return backward


def _clipped(states: list[Array], limit: float, by: str) -> list[Array]:
  """The gradients of the states of a carry, `[B, …]` each."""
  if by == "value":
    return [jnp.clip(state, -limit, limit) for state in states]
  rows = [norm(wide(state), tuple(range(1, state.ndim))) for state in states]
  together = norm(jnp.stack([row.reshape(row.shape[0]) for row in rows]), (0,))[0]
  above = together > limit
  factor = jnp.where(above, limit / jnp.where(above, together, 1), 1)

  def shrunk(state: Array, row: Array) -> Array:
    return state * factor.reshape(row.shape).astype(state.dtype)

  return list(map(shrunk, states, rows))


def norm(x: Array, axes: tuple[int, ...] | None = None) -> Array:
  """The l2 norm over `axes` (None: all), which are kept for broadcasting.

  No square overflows or falls below the least of its type before x does. The
  derivative where x is zero is zero.
  """
  largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True, initial=0.0)
  largest = jax.lax.stop_gradient(largest)  # the norm is the same for any other
  there = largest > 0
  scaled = x / jnp.where(there, largest, 1.0)
  squares = jnp.sum(scaled * scaled, axis=axes, keepdims=True)
  return largest * jnp.sqrt(jnp.where(there, squares, 1.0))


def wide(x: Array) -> Array:
  """The array in float32 at least."""
  return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
