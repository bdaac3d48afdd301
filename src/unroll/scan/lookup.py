"""Sequences of looked-up vectors: the table is projected, not the sequence.

`x_t W` of an embedding is a row of `table W`: V products instead of T·B, and their
gradient `onehotᵀ dz` is as large a product as that of W was.
"""

import jax
import jax.numpy as jnp

from unroll.linear import weight_gradient
from unroll.reverse_mode import reverse_mode_only
from unroll.types import Array, Lookup


def pays(xs: Lookup) -> bool:
  """Whether projecting the table takes fewer operations than projecting the sequence.

  Forward and backward together, a sequence takes 3·D·T·B products for each projected
  feature, and a lookup V·T·B + 3·D·V. For T = 1 the second term is left out: a single
  step stands in a loop, and XLA projects the table before the loop.
  """
  (vocabulary, width), steps = xs.table.shape, xs.ids.size
  own = 0 if xs.ids.shape[0] == 1 else vocabulary * 3 * width
  if not isinstance(steps, int):  # not known yet (`jax.export`): of many
    return vocabulary < 3 * width
  return vocabulary * steps + own < 3 * width * steps


def _taken(table: Array, ids: Array) -> Array:
  """`table [V, G]` at `ids [T, B]`; ids beyond V, as padding may hold, are clipped."""
  return jnp.take(table, ids, axis=0, mode="clip")


def look_up(table: Array, ids: Array) -> Array:
  """Rows of `table [V, G]` at `ids [T, B]`, with a gradient that is one product."""
  return _look_up(reverse_mode_only(table), ids)


_look_up = jax.custom_vjp(_taken)


def _look_up_fwd(table, ids):
  return _taken(table, ids), (ids, table[:, 0])


def _look_up_bwd(residuals, dz):
  ids, column = residuals
  # A scatter would add row by row, on one core.
  hot = jax.nn.one_hot(ids, len(column), dtype=dz.dtype)
  return weight_gradient(hot, dz, column.dtype), None


_look_up.defvjp(_look_up_fwd, _look_up_bwd)
