"""The backward pass of a cell that brings its `Derivative`.

Both loops work in place: `saved` overwrites the projected inputs, and the gradients
overwrite `saved`. A scan would stack each into a fresh array, which on a CPU costs
as much as the arithmetic of a small layer. XLA can do so only if every read of the
old array comes before it is written, and it goes by the flow of data alone: what a
step leaves is therefore written by the step after it, before that one reads.
"""

import functools

import jax
import jax.numpy as jnp

from unroll.scan.masks import masked, plain, select
from unroll.scan.matrix import transposed, wrapped
from unroll.types import Array, Carry, Cell


def run(cell: Cell, params, carry, initial, zs, masks, reverse: bool):
  """The scan, differentiated by the cell's `derivative`."""
  derivative = cell.derivative
  assert derivative is not None
  length = len(zs)
  times = range(length)[::-1] if reverse else range(length)
  # carries[t] and carries[t + 1] stand left and right of step t.
  before, after = (1, 0) if reverse else (0, 1)

  @jax.custom_vjp
  def run(params, carry, initial, zs, masks):
    return plain(cell.step, wrapped(params), carry, initial, zs, masks, reverse)

  def forward(params, carry, initial, zs, masks):
    valid, reset = masks
    step = functools.partial(derivative.forward, wrapped(params))

    def body(t, state, saved):
      carry, carries = state
      carries = _put(carries, t + before, carry)
      if reset is not None:
        carry = select(~_at(reset, t), carry, initial)
      new, saved = step(carry, saved[0])
      if valid is not None:
        new = select(_at(valid, t), new, carry)
      return (new, carries), saved

    def stack(leaf, steps):
      return jnp.zeros((steps, *leaf.shape), leaf.dtype)

    carries = jax.tree.map(lambda leaf: stack(leaf, length + 1), carry)
    first, *extra = jax.eval_shape(step, carry, zs[0])[1]
    saved = (zs.astype(first.dtype), *(stack(leaf, length) for leaf in extra))
    (carry, carries), saved = _in_place(times, body, (carry, carries), saved)
    carries = _put(carries, times[-1] + after, carry)
    ys = carries.h[after : after + length]
    if valid is not None:
      ys = masked(ys, valid)
    return (carry, ys), (params, initial, carries, saved, masks)

  def backward(residuals, cotangents):
    params, initial, carries, saved, (valid, reset) = residuals
    d_carry, d_ys = cotangents
    matrices = transposed(params)

    def body(t, state, saved):
      d_carry, d_initial = state
      d_y = _at(d_ys, t)
      if valid is not None:
        d_y = masked(d_y, _at(valid, t))
        held = _masked_carry(d_carry, ~_at(valid, t))
        d_carry = _masked_carry(d_carry, _at(valid, t))
      d_after = d_carry._replace(h=d_carry.h + d_y)
      carry = _at(carries, t + before)
      if reset is not None:
        carry = select(~_at(reset, t), carry, initial)
      d_carry, d_saved = derivative.backward(
        matrices, saved, carry, _at(carries, t + after), d_after
      )
      if valid is not None:
        d_carry = jax.tree.map(jnp.add, d_carry, held)
      if reset is not None:
        d_fresh = _masked_carry(d_carry, _at(reset, t))
        d_initial = jax.tree.map(jnp.add, d_initial, d_fresh)
        d_carry = _masked_carry(d_carry, ~_at(reset, t))
      return (d_carry, d_initial), d_saved

    state = (d_carry, jax.tree.map(jnp.zeros_like, initial))
    (d_carry, d_initial), d_saved = _in_place(times[::-1], body, state, saved)
    left = jax.tree.map(lambda leaf: leaf[before : before + length], carries)
    if reset is not None:
      left = select(~reset, left, jax.tree.map(lambda i: i[None], initial))
    d_params = derivative.weights(params, left, d_saved)
    return d_params, d_carry, d_initial, d_saved[0].astype(zs.dtype), None

  run.defvjp(forward, backward)
  return run(params, carry, initial, zs, masks)


def _in_place(times: range, body, state, stacks):
  """Runs `body(t, state, row) -> (state, row)` over rows `t` of `stacks`, in place."""

  def step(i, loop):
    state, stacks, last = loop
    t = times.start + times.step * i
    # The first step has no last one: it writes its own row back.
    stacks = _put(stacks, jnp.where(i == 0, t, t - times.step), last)
    state, row = body(t, state, _at(stacks, t))
    return state, stacks, row

  loop = (state, stacks, _at(stacks, times[0]))
  state, stacks, last = jax.lax.fori_loop(0, len(times), step, loop)
  return state, _put(stacks, times[-1], last)


def _masked_carry(carry: Carry, mask: Array) -> Carry:
  return jax.tree.map(lambda leaf: masked(leaf, mask), carry)


def _at(stacks, t):
  """Row `t` of each `[T, ...]`."""
  return jax.tree.map(
    lambda stack: jax.lax.dynamic_index_in_dim(stack, t, keepdims=False), stacks
  )


def _put(stacks, t, rows):
  """Each `[T, ...]` with row `t` replaced."""
  return jax.tree.map(
    lambda stack, row: jax.lax.dynamic_update_index_in_dim(stack, row, t, 0),
    stacks,
    rows,
  )
