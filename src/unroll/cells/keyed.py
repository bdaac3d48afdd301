"""What cells with a memory of keys and values share, where they take K steps at once.

Heads go before steps here, `[B, heads, K, …]`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll.types import Array, BadInput

Evaluation = Literal["auto", "sequential", "chunked"]
NEVER = -1e30  # the logarithm of what is as good as 0


class Span(NamedTuple):
  """Which steps of a chunk see which.

  Attributes:
    seen: `[B, 1, K, K]`, or 1 for B: whether step t sees step j: it is no earlier, and
      no reset lies between.
    first: `[B, 1, K]`, whether no reset lies before a step, which so sees the carry
      that the chunk begins with; None where there is none at all.
    carry: that carry.
    initial: what is seen of it after a reset.
  """

  seen: Array
  first: Array | None
  carry: Any
  initial: Any

  def total(self, logs: Array) -> Array:
    """Sums `[B, heads, K]` over all steps that are seen."""
    seen = self.seen[:, 0].astype(logs.dtype)
    if self.first is None:
      return jnp.einsum("tj,bhj->bht", seen[0], logs)
    return jnp.einsum("btj,bhj->bht", seen, logs)

  def between(self, total: Array) -> Array:
    """Logarithms `[B, heads, K, K]` of what is left of step j at step t."""
    logs = total[..., :, None] - total[..., None, :]
    return jnp.where(self.seen, logs, jnp.full_like(logs, NEVER))

  def start(self, read: Callable[[Any], Array]) -> Array:
    """`read(carry) [B, heads, K, …]` as each step sees it."""
    found = read(self.carry)
    if self.first is None:
      return found
    first = jnp.expand_dims(self.first, range(3, found.ndim))
    return jnp.where(first, found, read(self.initial))

  def end(self) -> Any:
    """The carry as the last step sees it."""
    if self.first is None:
      return self.carry
    first = self.first[:, 0, -1]

    def chosen(own, new):
      return jnp.where(jnp.expand_dims(first, range(1, own.ndim)), own, new)

    return jax.tree.map(chosen, self.carry, self.initial)


def span(steps: int, reset: Array | None, carry: Any, initial: Any) -> Span:
  """The span of K steps, from `reset [K, B]` or None."""
  lower = jnp.tri(steps, dtype=bool)[None, None]
  if reset is None:
    return Span(lower, None, carry, carry)
  number = jnp.cumsum(reset.astype(jnp.int32), axis=0).T[:, None]
  same = number[..., :, None] == number[..., None, :]
  seen = same & jnp.broadcast_to(lower, same.shape)
  return Span(seen, number == 0, carry, initial)


def where_valid(valid: Array | None, new: Array, other: float) -> Array:
  """`new [B, heads, K]` where `valid [K, B]`, and another number elsewhere."""
  if valid is None:
    return new
  valid = jnp.broadcast_to(valid.T[:, None], new.shape)
  return jnp.where(valid, new, jnp.full_like(new, other))


def heads_first(steps: Array) -> Array:
  """`[K, B, heads, …]` as `[B, heads, K, …]`."""
  return jnp.moveaxis(steps, 0, 2)


def steps_first(heads: Array) -> Array:
  """`[B, heads, K, d]` as `[K, B, H]`, one head after another."""
  steps = jnp.moveaxis(heads, 2, 0)
  return steps.reshape(*steps.shape[:2], steps.shape[2] * steps.shape[3])


def head_width(hidden_size: int, heads: int) -> int:
  """H / heads.

  Raises:
    BadInput: if the heads do not divide H.
  """
  if heads < 1 or hidden_size % heads:
    raise BadInput(f"heads={heads} do not divide {hidden_size} units: choose a divisor")
  return hidden_size // heads


def at_once(chunk: int) -> int:
  """The steps of a chunk.

  Raises:
    BadInput: if there is none.
  """
  if chunk < 1:
    raise BadInput(f"chunk={chunk}: give the steps that are taken at once, 1 or more")
  return chunk
