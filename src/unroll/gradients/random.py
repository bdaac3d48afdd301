"""Random chunk lengths, as AWD-LSTM trains (Merity, Keskar & Socher 2018)."""

import jax.numpy as jnp
import numpy as np

from unroll.gradients.chunks import Chunks
from unroll.gradients.full import full
from unroll.gradients.scheme import Scheme, present

DEVIATION = 5  # of the normal distribution of lengths, in steps
SHORTEST = 5
HALF = 0.05  # how often a chunk is drawn around K / 2


def random(k: int) -> Scheme:
  """Chunks of N(K, 5) steps, once in twenty N(K/2, 5), so that cuts move about.

  The learning rate of a chunk is scaled by its length / K: a short chunk's mean
  gradient would otherwise count for more a step. Draws are cut off at K + 20, four
  deviations, so that all chunks have one shape; steps beyond a chunk's length are
  not valid, and `scheme.present` counts the others.

  Args:
    k: K, the mean length of most chunks; at least 5.

  Raises:
    ValueError: if k is below 5, the shortest chunk.
  """
  if k < SHORTEST:
    raise ValueError(f"random(k={k}): must be at least {SHORTEST}, the shortest chunk")
  longest = k + 4 * DEVIATION

  def lengths(generator: np.random.Generator, total: int) -> np.ndarray:
    count = total // SHORTEST + 1
    mean = np.where(generator.random(count) < HALF, k / 2, k)
    drawn = generator.normal(mean, DEVIATION).astype(np.int64)
    return np.clip(drawn, SHORTEST, longest)

  def rate(batch):
    return jnp.float32(present(batch)) / k

  chunks = Chunks(longest, lengths=lengths)
  return Scheme(full().estimator, chunks=chunks, rate=rate)
