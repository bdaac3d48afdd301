"""Positions as angles: rotary embedding (Su et al. 2021, RoFormer).

Pairs of a head's numbers are turned by angles in proportion to the position, so that
the product of a query and a key knows their distance, and nothing else of where they
are.
"""

import math

import jax.numpy as jnp
import numpy as np

from unroll.types import Array

BASE = 10000.0  # the slowest pair turns about once in 2π times as many steps


def angles(position: Array, width: int) -> tuple[Array, Array]:
  """Cosines and sines of the angles at positions.

  An angle is a whole number of 2^-32 turns. Whole numbers of 32 bits overflow as angles
  do, so distances are exact at every position; a product of float32 would lose them
  in a long stream.

  Args:
    position: int32 `[B, T]`.
    width: of a head, even.

  Returns:
    Two arrays `[B, 1, T, width / 2]`.
  """
  half = width // 2
  speed = BASE ** (-np.arange(half) / half) * 2**32 / (2 * math.pi)
  turns = (
    position[:, None, :, None] * np.round(speed).astype(np.int32)[None, None, None]
  )
  angle = turns.astype(jnp.float32) * (2 * math.pi / 2**32)
  return jnp.cos(angle), jnp.sin(angle)


def turned(x: Array, by: tuple[Array, Array]) -> Array:
  """`x [B, heads, T, width]`, turned by the `angles` of its positions."""
  cos, sin = (part.astype(x.dtype) for part in by)
  a, b = jnp.split(x, 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
