"""JAX's `associative_scan`: what anyone takes for a linear recurrence in parallel."""

import jax

from bench.libraries.recurrence import timed
from bench.shapes import Shape
from bench.timing import Timed


def _states(a: jax.Array, b: jax.Array) -> jax.Array:
  def both(first: tuple, second: tuple) -> tuple:
    (a, b), (a_next, b_next) = first, second
    return a_next * a, a_next * b + b_next

  return jax.lax.associative_scan(both, (a, b))[1]


def recurrence(shape: Shape) -> Timed:
  """Forward and backward of a linear recurrence."""
  return timed(shape, _states)
