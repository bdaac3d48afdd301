"""Matrices side by side, factorised one after another, or solved without LAPACK.

On a CPU what XLA hands to LAPACK shares matrices `[B, S, S]` out among threads, and the
thread that hands them out waits for the others. Where two such operations meet, as a
solution and its gradient do, they can wait for each other for ever (jaxlib 0.10.2).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from unroll.types import Array


def each(function: Callable[..., Any], *matrices: Array) -> Any:
  """A function of matrices, of each of `[B, …]` in turn.

  Args:
    function: matrices to arrays.
    *matrices: `[B, …]` each.

  Returns:
    Its results, `[B, …]`.
  """
  return jax.vmap(alone(function))(*matrices)


def alone(function: Callable[..., Any]) -> Callable[..., Any]:
  """The same function, which under `jax.vmap` takes one matrix after another."""
  return jax.custom_batching.sequential_vmap(lambda *own: function(*own))


def unit_lower_solved(lower: Array, right: Array) -> Array:
  """U of (I + L) U = R, where L is what stands below a diagonal.

  By the inverse of I + L, whose quarters are those of halves: the products of log₂ K
  sizes of blocks, and no step of K. Derivatives of any order are those of the system.

  Args:
    lower: `[…, K, K]`; the diagonal and what is above it are not read.
    right: `[…, K, N]`.
  """
  below = jnp.tril(lower, -1)
  inverse = _inverse(below)
  transposed = jnp.swapaxes(inverse, -1, -2)
  return jax.lax.custom_linear_solve(
    lambda u: u + below @ u,
    right,
    lambda _, r: inverse @ r,
    lambda _, r: transposed @ r,
  )


def _inverse(below: Array) -> Array:
  """(I + L)⁻¹ `[…, K, K]`, from the diagonal's blocks of 1 on, twice as large each."""
  size = below.shape[-1]
  whole = 1 << max(size - 1, 0).bit_length()
  pads = [(0, 0)] * (below.ndim - 2) + [(0, whole - size)] * 2
  below = jnp.pad(below, pads)
  found = jnp.ones((*below.shape[:-2], whole, 1, 1), below.dtype)
  width = 1
  while width < whole:
    first, second = found[..., ::2, :, :], found[..., 1::2, :, :]
    count = whole // width
    blocks = below.reshape(*below.shape[:-2], count, width, count, width)
    pairs = blocks[..., 1::2, :, ::2, :]  # of each second block and each first one
    between = jnp.moveaxis(jnp.diagonal(pairs, axis1=-4, axis2=-2), -1, -3)
    corner = -(second @ between @ first)
    top = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
    found = jnp.concatenate([top, jnp.concatenate([corner, second], axis=-1)], axis=-2)
    width *= 2
  return found[..., 0, :size, :size]
