"""The backward pass of a cell that brings its `Derivative`.

Both loops work in place: `saved` overwrites the projected inputs, and the gradients
overwrite `saved`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.scan.batching import batched_alike
from unroll.scan.loops import at, in_place, put, rows, sides, traced_step
from unroll.scan.masks import masked, select
from unroll.scan.matrix import looped
from unroll.scan.precision import narrowed, widened
from unroll.types import Array, Carry, Derivative


def run(
  derivative: Derivative,
  params,
  carry,
  initial,
  context,
  zs,
  masks,
  reverse: bool,
  every: bool,
):
  """The scan, differentiated by a cell's `derivative`, which reads no `context`."""
  assert not context
  loops = _Loops(derivative, zs.shape[0], reverse, every)

  @jax.custom_vjp
  def run(*given):
    return loops.forward(*given)[0]

  run.defvjp(loops.forward, loops.backward)
  return run(params, carry, initial, zs, masks)


class _Loops(NamedTuple):
  """The loop of the forward pass, and that of the backward pass."""

  derivative: Derivative
  length: int
  reverse: bool
  every: bool

  def forward(self, params, carry, initial, zs, masks):
    """The results, and what the backward pass needs."""
    given = (params, carry, zs)
    (valid, reset), (_, after) = masks, sides(self.reverse)
    step = functools.partial(self.derivative.forward, looped(params, zs))
    place, y, (first, *extra) = traced_step(step, carry, zs[0])

    def body(t, state, saved):
      carry, carries, ys = state
      if reset is not None:
        carry = select(~at(reset, t), carry, initial)
      new, y, saved = step(carry, saved[0])
      if valid is not None:
        new = select(at(valid, t), new, carry)
      ys = put(ys, t, y) if place is None else None
      return (new, put(carries, t + after, new), ys), saved

    def stack(leaf):
      shape = (self.length, *leaf.shape)
      return jnp.zeros_like(zs, shape=shape, dtype=leaf.dtype)

    # The carry before the first step stands in every row, its own included.
    carries = jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (self.length + 1, *leaf.shape)), carry
    )
    saved = (zs.astype(first.dtype), *map(stack, extra))
    state = (carry, carries, stack(y) if place is None else None)
    start, stride = (self.length - 1, -1) if self.reverse else (0, 1)
    steps = (start, stride, self.length)
    (carry, carries, ys), saved = in_place(steps, body, state, saved)
    if place is not None:
      ys = rows(jax.tree.leaves(carries)[place], after, self.length)
    if valid is not None:
      ys = masked(ys, valid)
    results = (rows(carries, after, self.length) if self.every else carry, ys)
    residuals = (params, initial, carries, saved, masks, zs[:0])
    return batched_alike(results, given), residuals

  def backward(self, residuals, cotangents):
    """The gradients of what `forward` is given."""
    params, initial, carries, saved, (valid, reset), like = residuals
    d_carries, d_ys = cotangents
    before, after = sides(self.reverse)
    matrices = looped(params, saved[0], transposed=True)

    def body(t, state, saved):
      d_carry, d_initial = state
      if self.every:
        d_carry = _sum(d_carry, at(d_carries, t))
      d_y = at(d_ys, t)
      if valid is not None:
        d_y = masked(d_y, at(valid, t))
        held = _masked_carry(d_carry, ~at(valid, t))
        d_carry = _masked_carry(d_carry, at(valid, t))
      carry = at(carries, t + before)
      if reset is not None:
        carry = select(~at(reset, t), carry, initial)
      d_carry, d_saved = self.derivative.backward(
        matrices, saved, carry, at(carries, t + after), d_carry, d_y
      )
      if valid is not None:
        d_carry = _sum(d_carry, held)
      if reset is not None:
        d_initial = _sum(d_initial, widened(_masked_carry(d_carry, at(reset, t))))
        d_carry = _masked_carry(d_carry, ~at(reset, t))
      return (d_carry, d_initial), d_saved

    d_carry = d_carries
    if self.every:
      d_carry = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), d_carries)
    state = (d_carry, widened(jax.tree.map(jnp.zeros_like, initial)))
    start, stride = (0, 1) if self.reverse else (self.length - 1, -1)
    steps = (start, stride, self.length)
    (d_carry, d_initial), d_saved = in_place(steps, body, state, saved)
    d_initial = narrowed(d_initial, initial)
    left = rows(carries, before, self.length)
    if reset is not None:
      left = select(~reset, left, jax.tree.map(lambda i: i[None], initial))
    d_params = self.derivative.weights(params, left, d_saved)
    return d_params, d_carry, d_initial, d_saved[0].astype(like.dtype), None


def _masked_carry(carry: Carry, mask: Array) -> Carry:
  return jax.tree.map(lambda leaf: masked(leaf, mask), carry)


def _sum(a: Carry, b: Carry) -> Carry:
  return jax.tree.map(jnp.add, a, b)
