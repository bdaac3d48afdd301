"""The backward pass of a cell that brings its `Derivative`.

Both loops work in place: `saved` overwrites the projected inputs, and the gradients
overwrite `saved`. A scan would stack each into a fresh array, which on a CPU costs
as much as the arithmetic of a small layer. XLA works in place only if every read of an
array comes before the write, and it orders reads and writes by data dependence only.
Each iteration therefore loads the next row from the array that it has just written.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.scan.batching import batched_alike
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

  @property
  def sides(self) -> tuple[int, int]:
    """The carries around step t: carries[t] stands left of it, carries[t + 1] right.

    Returns:
      What is added to t for the carry before the step, and for that after it.
    """
    return (1, 0) if self.reverse else (0, 1)

  def forward(self, params, carry, initial, zs, masks):
    """The results, and what the backward pass needs."""
    given = (params, carry, zs)
    (valid, reset), (_, after) = masks, self.sides
    step = functools.partial(self.derivative.forward, looped(params, zs))
    place, y, (first, *extra) = _results(step, carry, zs[0])

    def body(t, state, saved):
      carry, carries, ys = state
      if reset is not None:
        carry = select(~_at(reset, t), carry, initial)
      new, y, saved = step(carry, saved[0])
      if valid is not None:
        new = select(_at(valid, t), new, carry)
      ys = _put(ys, t, y) if place is None else None
      return (new, _put(carries, t + after, new), ys), saved

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
    (carry, carries, ys), saved = _in_place(steps, body, state, saved)
    if place is not None:
      ys = self.rows(jax.tree.leaves(carries)[place], after)
    if valid is not None:
      ys = masked(ys, valid)
    results = (self.rows(carries, after) if self.every else carry, ys)
    residuals = (params, initial, carries, saved, masks, zs[:0])
    return batched_alike(results, given), residuals

  def backward(self, residuals, cotangents):
    """The gradients of what `forward` is given."""
    params, initial, carries, saved, (valid, reset), like = residuals
    d_carries, d_ys = cotangents
    before, after = self.sides
    matrices = looped(params, saved[0], transposed=True)

    def body(t, state, saved):
      d_carry, d_initial = state
      if self.every:
        d_carry = _sum(d_carry, _at(d_carries, t))
      d_y = _at(d_ys, t)
      if valid is not None:
        d_y = masked(d_y, _at(valid, t))
        held = _masked_carry(d_carry, ~_at(valid, t))
        d_carry = _masked_carry(d_carry, _at(valid, t))
      carry = _at(carries, t + before)
      if reset is not None:
        carry = select(~_at(reset, t), carry, initial)
      d_carry, d_saved = self.derivative.backward(
        matrices, saved, carry, _at(carries, t + after), d_carry, d_y
      )
      if valid is not None:
        d_carry = _sum(d_carry, held)
      if reset is not None:
        d_initial = _sum(d_initial, widened(_masked_carry(d_carry, _at(reset, t))))
        d_carry = _masked_carry(d_carry, ~_at(reset, t))
      return (d_carry, d_initial), d_saved

    d_carry = d_carries
    if self.every:
      d_carry = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), d_carries)
    state = (d_carry, widened(jax.tree.map(jnp.zeros_like, initial)))
    start, stride = (0, 1) if self.reverse else (self.length - 1, -1)
    steps = (start, stride, self.length)
    (d_carry, d_initial), d_saved = _in_place(steps, body, state, saved)
    d_initial = narrowed(d_initial, initial)
    left = self.rows(carries, before)
    if reset is not None:
      left = select(~reset, left, jax.tree.map(lambda i: i[None], initial))
    d_params = self.derivative.weights(params, left, d_saved)
    return d_params, d_carry, d_initial, d_saved[0].astype(like.dtype), None

  def rows(self, stacks, first: int):
    """Rows `[first, first + T)` of each `[T + 1, ...]`."""
    return jax.tree.map(
      lambda stack: jax.lax.slice_in_dim(stack, first, first + self.length), stacks
    )


def _results(step, carry: Carry, z: Array):
  """The output of a step and what it saves, as shapes.

  Returns:
    Where the output stands among the leaves of the carry, or None; the output; and what
    is saved.
  """
  places: list[int] = []

  def probe(carry, z):
    new, y, saved = step(carry, z)
    places.extend(i for i, leaf in enumerate(jax.tree.leaves(new)) if leaf is y)
    return y, saved

  y, saved = jax.eval_shape(probe, carry, z)
  return places[0] if places else None, y, saved


def _in_place(steps: tuple[int, int, int], body, state, stacks):
  """Runs `body(t, state, row) -> (state, row)` over rows `t` of `stacks`, in place.

  Args:
    steps: the first t, what is added from step to step, and how many there are.
    body: what a step does.
    state: what goes from step to step.
    stacks: arrays `[T, ...]`, of which each step reads a row, and writes it.
  """
  start, stride, length = steps

  def step(i, loop):
    state, stacks, row = loop
    t = start + stride * i
    state, row = body(t, state, row)
    stacks = _put(stacks, t, row)
    # The last step reads some row for nothing.
    return state, stacks, _at(stacks, t + stride)

  loop = (state, stacks, _at(stacks, start))
  state, stacks, _ = jax.lax.fori_loop(0, length, step, loop)
  return state, stacks


def _masked_carry(carry: Carry, mask: Array) -> Carry:
  return jax.tree.map(lambda leaf: masked(leaf, mask), carry)


def _sum(a: Carry, b: Carry) -> Carry:
  return jax.tree.map(jnp.add, a, b)


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
