"""The scan of a cell that takes many steps at once: a loop of chunks, not of steps.

The gradient keeps the carry before each chunk, and computes the chunk again.
"""

import jax
import jax.numpy as jnp

from unroll.scan.masks import masked
from unroll.scan.matrix import wrapped
from unroll.scan.precision import narrowed, widened
from unroll.types import Array, Chunk


def run(
  chunk: Chunk,
  params,
  carry,
  initial,
  context,
  zs,
  masks,
  reverse: bool,
  every: bool,
):
  """The scan by chunks; it reads no `context`, and has no carries but the last."""
  assert not context and not every
  length, batch = zs.shape[:2]
  size = min(chunk.size, length)
  more = -length % size
  valid, reset = masks
  if more and valid is None:
    valid = jnp.ones((length, batch), bool)
  rows = jax.tree.map(lambda leaf: _cut(leaf, size, more, reverse), (zs, valid, reset))
  constants = (params, initial)
  wide = widened(constants)

  def body(carry, row):
    own, fresh = narrowed(wide, constants)
    return chunk.steps(wrapped(own), carry, fresh, *row)

  # In a loop, XLA has no first result in whose place it would put the second.
  body = jax.checkpoint(body, prevent_cse=False)
  carry, ys = jax.lax.scan(body, carry, rows)
  ys = ys.reshape(length + more, *ys.shape[2:])[:length]
  ys = ys[::-1] if reverse else ys
  return carry, ys if masks[0] is None else masked(ys, masks[0])


def _cut(leaf: Array, size: int, more: int, reverse: bool) -> Array:
  """`[T, …]` as chunks `[T / K, K, …]` in the order of the scan, zeros in the end."""
  leaf = leaf[::-1] if reverse else leaf
  if more:
    zeros = jnp.zeros_like(leaf, shape=(more, *leaf.shape[1:]))
    leaf = jnp.concatenate([leaf, zeros])
  return leaf.reshape(len(leaf) // size, size, *leaf.shape[1:])
