"""From the outputs of a sequence to one vector: last, mean, max, attention."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from unroll.types import Array

POOLINGS = ("last", "mean", "max", "attention")


class Pooling(nn.Module):
  """One vector of the valid steps of a sequence; zero where there is none.

  - last: what the layer ends with. That is its output of the last valid step; and of
    the first step, in those columns that were read from the right.
  - mean, max: over the valid steps, column by column.
  - attention: the mean with weights softmax(v · tanh(W y_t + b)) over the valid steps
    (Yang et al., Hierarchical Attention Networks, 2016).

  Attributes:
    kind: one of `POOLINGS`.
    leftward: for each column whether it was read from the right; () where none was.
    kernel_init: of the matrix of attention.
  """

  kind: str = "last"
  leftward: tuple[bool, ...] = ()
  kernel_init: Any = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, ys: Array, valid: Array) -> Array:
    """Reads outputs `[T, B, H]` and where they are valid `[T, B]`; returns `[B, H]`."""
    there = valid[..., None]
    some = there.any(0)
    if self.kind == "last":
      end = jnp.maximum(valid.sum(0) - 1, 0)
      pooled = jnp.take_along_axis(ys, end[None, :, None], axis=0)[0]
      if self.leftward:
        pooled = jnp.where(jnp.array(self.leftward), ys[0], pooled)
    elif self.kind == "mean":
      total = jnp.where(there, ys, 0).sum(0)
      pooled = total / jnp.maximum(there.sum(0), 1).astype(ys.dtype)
    elif self.kind == "max":
      pooled = jnp.where(there, ys, -jnp.inf).max(0)
    else:
      width = ys.shape[-1]
      hidden = nn.tanh(nn.Dense(width, kernel_init=self.kernel_init, name="key")(ys))
      query = self.param("query", nn.initializers.normal(width**-0.5), (width,))
      scores = jnp.where(valid, hidden @ query, -jnp.inf)
      # Of a sequence without a step all scores are equal, and what they give is cut.
      scores = jnp.where(some[..., 0], scores, 0)
      weights = nn.softmax(scores, axis=0)[..., None]
      pooled = (weights * jnp.where(there, ys, 0)).sum(0)
    return jnp.where(some, pooled, 0)
