"""Anticipated reweighted truncation: cuts at random, each of which is made up for."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from unroll import states
from unroll.gradients.chunks import Chunks
from unroll.gradients.scheme import (
  ChunkLoss,
  Estimator,
  Scheme,
  duration,
  memoryless,
  no_sums,
  present,
  steps,
)
from unroll.types import added

LONGEST = 8  # times K: one chunk in 3,000 is cut there


def artbp(k: int, block: int = 1) -> Scheme:
  """Chunks of K steps in the mean, whose gradient is right in the mean.

  After every block the sequence is cut with probability block / K. Where it is not, the
  gradient that flows back over that place is multiplied by 1 / (1 - block / K), so that
  what cuts lose is made up for (Tallec & Ollivier 2017). Variance grows with the lag
  that matters: with lags of many K it is large. A chunk ends at 8 K at the latest;
  those few cuts are not made up for.

  A chunk takes the time of its own steps, and one more forward pass: the backward pass
  goes block by block and computes each again from the state that it began with.

  The learning rate of a chunk is scaled by its length / K, as that of `random`.

  Args:
    k: K, the mean length, more than `block` and a multiple of it.
    block: steps between places where a cut may be; one block is computed at once.

  Raises:
    ValueError: k is no multiple of block, or not more than that.
  """
  if block < 1 or k <= block or k % block:
    raise ValueError(f"artbp(k={k}, block={block}): give a k of several blocks")
  chance = block / k

  def lengths(generator: np.random.Generator, total: int) -> np.ndarray:
    drawn: list[np.ndarray] = []
    while sum(map(np.sum, drawn)) < total:
      blocks = generator.geometric(chance, total // k + 1)
      drawn.append(np.minimum(blocks * block, LONGEST * k))
    return np.concatenate(drawn)

  def rate(batch):
    return jnp.float32(present(batch)) / k

  chunks = Chunks(LONGEST * k, lengths=lengths)
  return Scheme(_reweighted(block, 1 / (1 - chance)), chunks=chunks, rate=rate)


def _reweighted(block: int, factor: float) -> Callable[[ChunkLoss], Estimator]:
  """Backpropagation whose gradient grows by a factor from block to block."""

  def estimator(loss: ChunkLoss) -> Estimator:
    def take(params, carry, batch):
      whole, rest = divmod(duration(batch), block)
      # Beyond the last real step nothing is computed.
      count = jnp.minimum(-(-present(batch) // block), whole)

      def at(i):
        start = i * block
        return jax.tree.map(
          lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, block), batch
        )

      def forward(i, state):
        carry, begun, sums = state
        begun = jax.tree.map(lambda all, one: all.at[i].set(one), begun, carry)
        _, (carry, part) = loss(params, carry, at(i))
        return carry, begun, added(sums, part)

      def backward(carry, piece, state):
        slope, grads = state

        def summed(params, change):
          mean, (new, part) = loss(params, states.moved(carry, change), piece)
          return mean * part["loss"].count, states.vector(new)

        one, pull = jax.vjp(summed, params, jnp.zeros_like(slope))
        new, slope = pull((jnp.ones_like(one[0]), slope))
        return factor * slope, jax.tree.map(jnp.add, grads, new)

      def behind(i, state):
        at_i = count - 1 - i
        before = jax.tree.map(lambda all: all[at_i], begun)
        return backward(before, at(at_i), state)

      begun = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (whole, *leaf.shape)), carry
      )
      sums = no_sums(loss, params, carry, steps(batch, 0, min(block, duration(batch))))
      if whole:
        carry, begun, sums = jax.lax.fori_loop(0, count, forward, (carry, begun, sums))
      state = (
        jnp.zeros_like(states.vector(carry)),
        jax.tree.map(jnp.zeros_like, params),
      )
      if rest:
        piece, before = steps(batch, whole * block, duration(batch)), carry
        state = backward(before, piece, state)
        _, (carry, part) = loss(params, carry, piece)
        sums = added(sums, part)
      if whole:
        state = jax.lax.fori_loop(0, count, behind, state)
      _, grads = state
      weight = jnp.maximum(sums["loss"].count, 1)
      grads = jax.tree.map(lambda g: g / weight.astype(g.dtype), grads)
      return (sums["loss"].mean(), (carry, sums)), grads

    return memoryless(take)

  return estimator
