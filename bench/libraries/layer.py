"""What is timed of a recurrent layer in JAX, whoever wrote it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bench.timing import Timed

# (params, xs) -> ys; its parameters; its inputs.
Layer = tuple[Callable[[Any, jax.Array], Any], Any, jax.Array]


def backward(layer: Layer) -> Timed:
  """Forward and backward of sum(y²), for parameters and inputs."""
  apply, params, xs = layer

  def loss(params, xs):
    ys = apply(params, xs)
    return jnp.sum(ys * ys)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
  return Timed(lambda: jax.block_until_ready(gradient(params, xs)))


def forward(layer: Layer) -> Timed:
  """Forward alone."""
  apply, params, xs = layer
  program = jax.jit(apply)
  return Timed(lambda: jax.block_until_ready(program(params, xs)))
