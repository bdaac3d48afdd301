"""All steps of a cell at once, as maps of vectors, and the linear steps beside them.

The states of a carry stand side by side in a vector `[B, N]`, a row that a matrix is
multiplied by from the right: the Jacobian of a step has `[input, output]`.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll.placement import varying
from unroll.scan.masks import masked_step
from unroll.scan.recurrence import recurrence
from unroll.types import Array, Carry

ROUNDINGS = 64  # of the largest number: what is no error of a recurrence
SMALL = 4  # numbers of a state, up to which XLA sums faster than it multiplies matrices


class Steps(NamedTuple):
  """The steps of a cell.

  Attributes:
    step: `(params, carry, z, *context, *closed) -> (carry, y)`.
    like: the carry, as shapes `[B, …]`, all of one floating type.
  """

  step: Callable[..., tuple[Carry, Any]]
  like: Carry

  def vector(self, carry: Carry) -> Array:
    """A carry `[…, B, …]` as `[…, B, N]`."""
    parts = []
    for leaf, like in zip(jax.tree.leaves(carry), jax.tree.leaves(self.like)):
      lead = leaf.shape[: leaf.ndim - like.ndim + 1]
      parts.append(leaf.reshape(*lead, -1))
    return jnp.concatenate(parts, axis=-1)

  def carry(self, vector: Array) -> Carry:
    """`[…, B, N]` as a carry `[…, B, …]`."""
    leaves, tree = jax.tree.flatten(self.like)
    sizes = [leaf.size // leaf.shape[0] if leaf.shape[0] else 0 for leaf in leaves]
    ends = list(itertools.accumulate(sizes))
    parts = jnp.split(vector, ends[:-1], axis=-1)
    shaped = [
      part.reshape(*vector.shape[:-1], *leaf.shape[1:])
      for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, shaped)

  def one(self, constants, before: Array, row) -> tuple[Array, Array]:
    """A step under its masks: `[B, N]` to `[B, N]`, and y."""
    params, initial, *read = constants
    z, masks = row
    carry = self.carry(before)
    after, y = masked_step(self.step, params, carry, initial, read, z, masks)
    return self.vector(after), y

  def all(self, constants, before: Array, rows) -> tuple[Array, Array]:
    """Every step, each from the state before it, `[T, B, N]`."""
    return jax.vmap(self.one, (None, 0, 0))(constants, before, rows)

  def loop(self, constants, start: Array, rows) -> Array:
    """The states after every step, `[T, B, N]`, one by one."""

    def body(state, row):
      state, _ = self.one(constants, state, row)
      return state, state

    return jax.lax.scan(body, start, rows)[1]

  def linear(self, jacobian: str, constants, before: Array, rows):
    """What every step makes of the state before it, and its derivative to that.

    Returns:
      `[T, B, N]`; and `[T, B, N, N]` of a full Jacobian, or its diagonal, `[T, B, N]`.
    """
    after, pushed = jax.linearize(lambda b: self.all(constants, b, rows)[0], before)
    directions = jnp.eye(before.shape[-1], dtype=before.dtype)

    def along(direction):
      return pushed(varying(jnp.broadcast_to(direction, before.shape), like=before))

    if jacobian == "full":
      return after, jax.vmap(along, out_axes=2)(directions)

    def own(number):
      return along(directions[number])[..., number]

    return after, jnp.moveaxis(jax.lax.map(own, jnp.arange(len(directions))), 0, -1)


def preceding(states: Array, start: Array) -> Array:
  """The state before each step, of those after each."""
  return jnp.concatenate([start[None], states[:-1]])


def solve(factors: Array, added: Array) -> Array:
  """`s_t = s_{t-1} A_t + b_t` from zero, for all t, as a tree.

  Args:
    factors: A, `[T, B, N, N]`, or the diagonals of diagonal ones, `[T, B, N]`.
    added: b, `[T, B, N]`.
  """
  if factors.ndim == added.ndim:
    start = jnp.zeros_like(added[0])
    return recurrence(factors, added, start, reverse=False, evaluation="associative")[0]

  def both(first, second):
    (a, b), (a_next, b_next) = first, second
    return times(a, a_next), times(b[..., None, :], a_next)[..., 0, :] + b_next

  return jax.lax.associative_scan(both, (factors, added))[1]


def times(a: Array, b: Array) -> Array:
  """`a [..., M, N] @ b [..., N, K]`."""
  if a.shape[-1] > SMALL:
    return a @ b
  columns = [a[..., :, n, None] * b[..., n, None, :] for n in range(a.shape[-1])]
  return functools.reduce(jnp.add, columns)
