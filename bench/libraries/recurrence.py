"""A linear recurrence whose terms read an input, as those of a cell do."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bench.shapes import Shape
from bench.timing import Timed

States = Callable[[jax.Array, jax.Array], jax.Array]


def timed(shape: Shape, states: States) -> Timed:
  """Forward and backward of sum(s²) for z, with `s_t = σ(z_t) ⊙ s_{t-1} + σ(-z_t)`.

  Args:
    shape: B, T and H; D is not read.
    states: `(a, b) -> s`, each `[T, B, H]`, from a state of zeros.
  """
  size = (shape.steps, shape.batch, shape.hidden)
  zs = jax.random.normal(jax.random.key(1), size)

  def loss(zs: jax.Array) -> jax.Array:
    a = jax.nn.sigmoid(zs)
    ys = states(a, 1 - a)
    return jnp.sum(ys * ys)

  gradient = jax.jit(jax.grad(loss))
  return Timed(lambda: jax.block_until_ready(gradient(zs)))
