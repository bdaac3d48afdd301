"""The limits of the machine, by the same clock as the libraries: seconds a 10^9."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from bench.shapes import Shape
from bench.timing import CORES, Timed, fastest

SIDES = (1024, 2048)
NUMBERS = 2**26  # too many for all caches


def layer(shape: Shape) -> Timed:
  """Arithmetic: a large square matrix product, summed in float32; seconds a GFLOP."""

  @jax.jit
  def multiply(a, b):
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)

  def square(side: int) -> Timed:
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), shape.dtype)
    return Timed(lambda: jax.block_until_ready(multiply(a, b)), 2e-9 * side**3)

  return fastest({f"side {side}": square(side) for side in SIDES})


step = layer


def recurrence(shape: Shape) -> Timed:
  """Bandwidth: a large array read, and another one written; seconds a GB."""
  array = jnp.ones(NUMBERS, jnp.float32)
  more = jax.jit(lambda x: x + 1)
  return Timed(lambda: jax.block_until_ready(more(array)), 8e-9 * NUMBERS)


def generate(shape: Shape) -> Timed:
  """Bandwidth: reads as much as the model's weights again and again; seconds a GB."""
  side = round((shape.model_bytes / 4) ** 0.5)
  matrix, x = np.ones((side, side), np.float32), np.ones(side, np.float32)
  again = 1 + 50_000_000 // matrix.nbytes

  def read(rows: np.ndarray) -> None:
    for _ in range(again):
      np.dot(rows, x)

  def a_share_each(cores: int) -> Timed:
    shares = np.array_split(matrix, cores)
    pool = ThreadPoolExecutor(cores)
    return Timed(lambda: list(pool.map(read, shares)), 1e-9 * again * matrix.nbytes)

  return fastest({f"{cores} threads": a_share_each(cores) for cores in {1, CORES}})
