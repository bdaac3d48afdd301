"""Randomised telescopes: longer truncations now and then, in due proportion."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from unroll.gradients.full import full
from unroll.gradients.scheme import ChunkLoss, Estimate, Estimator, Scheme, duration
from unroll.gradients.truncated import truncated


def telescope(k: int) -> Scheme:
  """The full gradient in the mean, mostly at the price of a truncated one.

  With G_i the gradient of `truncated(2^i k)`, and the full gradient as the last of n,
  that last one is G_0 + (G_1 - G_0) + … + (G_n - G_{n-1}). One i is drawn from 1 to n
  with probability p_i in proportion to 2^-i, and what is taken is
  G_0 + (G_i - G_{i-1}) / p_i: the single-sample telescope of Beatson & Adams (2019).
  The differences must fall faster than 2^-i for a variance that stays finite as n
  grows; where the sequence has k steps or fewer it is the full gradient itself.

  Three gradients of the sequence are taken at each update, each of T steps, so that
  memory is what the longest one drawn takes. State passes from batch to batch, and no
  gradient.

  Args:
    k: the shortest truncation, at least 1.
  """
  if k < 1:
    raise ValueError(f"telescope(k={k}): must be at least 1")

  def estimator(loss: ChunkLoss) -> Estimator:
    def estimate(params, carry, memory, batch, key):
      length = duration(batch)
      doublings = max(math.ceil(math.log2(length / k)), 0) if length else 0
      schemes = [truncated(k * 2**i) for i in range(doublings)] + [full()]
      levels = [scheme.estimator(loss).estimate for scheme in schemes]
      first = levels[0](params, carry, (), batch, key)
      if not doublings:
        return first._replace(memory=memory)
      chances = jnp.asarray(0.5 ** np.arange(doublings), jnp.float32)
      chances = chances / jnp.sum(chances)
      drawn = jax.random.choice(key, doublings, p=chances)

      def gradient(level):
        return lambda: levels[level](params, carry, (), batch, key).grads

      longer = jax.lax.switch(drawn, [gradient(i + 1) for i in range(doublings)])
      shorter = jax.lax.switch(drawn, [gradient(i) for i in range(doublings)])
      grads = jax.tree.map(
        lambda g, a, b: g + (a - b) / chances[drawn].astype(g.dtype),
        first.grads,
        longer,
        shorter,
      )
      return Estimate(first.value, first.carry, memory, first.sums, grads)

    return Estimator(lambda params, carry, batch: (), estimate)

  return Scheme(estimator)
