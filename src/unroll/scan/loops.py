"""Loops that work in place, over rows of arrays `[T, …]`.

A scan would stack what it makes into fresh arrays, which on a CPU costs as much as the
arithmetic of a small layer. XLA works in place only if every read of an array comes
before the write, and it orders reads and writes by data dependence only. Each iteration
therefore loads the next row from the array that it has just written.
"""

import jax

from unroll.types import Array, Carry


def traced_step(step, carry: Carry, z: Array):
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


def in_place(steps: tuple[int, int, int], body, state, stacks):
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
    stacks = put(stacks, t, row)
    # The last step reads some row for nothing.
    return state, stacks, at(stacks, t + stride)

  loop = (state, stacks, at(stacks, start))
  state, stacks, _ = jax.lax.fori_loop(0, length, step, loop)
  return state, stacks


def sides(reverse: bool) -> tuple[int, int]:
  """The carries around step t: carries[t] stands left of it, carries[t + 1] right.

  Returns:
    What is added to t for the carry before the step, and for that after it.
  """
  return (1, 0) if reverse else (0, 1)


def rows(stacks, first: int, length):
  """Rows `[first, first + length)` of each of the stacks."""
  return jax.tree.map(
    lambda stack: jax.lax.slice_in_dim(stack, first, first + length), stacks
  )


def at(stacks, t):
  """Row `t` of each `[T, ...]`."""
  return jax.tree.map(
    lambda stack: jax.lax.dynamic_index_in_dim(stack, t, keepdims=False), stacks
  )


def put(stacks, t, rows):
  """Each `[T, ...]` with row `t` replaced."""
  return jax.tree.map(
    lambda stack, row: jax.lax.dynamic_update_index_in_dim(stack, row, t, 0),
    stacks,
    rows,
  )
