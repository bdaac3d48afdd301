"""Truncated backpropagation through time, BPTT(k2; k1) of Williams & Peng (1990)."""

import itertools

import jax
import jax.numpy as jnp

from unroll.gradients.chunks import Chunks
from unroll.gradients.scheme import (
  ChunkLoss,
  Estimator,
  Scheme,
  duration,
  memoryless,
  no_sums,
  steps,
)
from unroll.types import Sums, added


def truncated(k1: int, k2: int | None = None) -> Scheme:
  """A gradient every `k1` steps that reaches `k2` steps back.

  With k2 = k1, the usual form, the sequence is cut into chunks of k1; the state
  passes the cuts and the gradient does not. With k2 > k1 each window runs through
  k2 - k1 steps that are already scored and k1 new ones. With k2 < k1 the state runs
  through all k1 steps, and the gradient is that of the mean loss of the last k2.

  A sequence longer than one window gives the sum over its windows: one update.

  Args:
    k1: new steps a window, at least 1.
    k2: steps that the gradient reaches back, at least 1; k1 by default.

  Raises:
    ValueError: if k1 or k2 is below 1.
  """
  k2 = k1 if k2 is None else k2
  if k1 < 1 or k2 < 1:
    raise ValueError(f"truncated(k1={k1}, k2={k2}): both must be at least 1")
  overlap = max(k2 - k1, 0)

  def estimator(loss: ChunkLoss) -> Estimator:
    window = jax.grad(_window(loss, overlap, k2), has_aux=True)

    def take(params, carry, batch):
      whole, rest = divmod(duration(batch) - overlap, k1)

      def at(state, start, size):
        carry, sums, weight, grads = state
        part = jax.tree.map(
          lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, overlap + size), batch
        )
        new, (carry, part_sums, counted) = window(
          params, jax.lax.stop_gradient(carry), part
        )
        grads = jax.tree.map(jnp.add, grads, new)
        return carry, added(sums, part_sums), weight + counted, grads

      zeros = jax.tree.map(jnp.zeros_like, params)
      sums: dict[str, Sums] = {}
      if whole > 1:  # a loop must know from the start what it adds up
        sums = no_sums(loss, params, carry, steps(batch, 0, k1))
      state = (carry, sums, jnp.zeros((), jnp.float32), zeros)
      if whole == 1:
        state = at(state, 0, k1)
      elif whole:
        starts = k1 * jnp.arange(whole)
        state, _ = jax.lax.scan(lambda s, t: (at(s, t, k1), None), state, starts)
      if rest:
        state = at(state, whole * k1, rest)
      carry, sums, weight, grads = state
      grads = jax.tree.map(lambda g: g / jnp.maximum(weight, 1).astype(g.dtype), grads)
      return (sums["loss"].mean(), (carry, sums)), grads

    return memoryless(take)

  return Scheme(estimator, chunks=Chunks(k1, overlap))


def _window(loss: ChunkLoss, overlap: int, reach: int):
  """The summed loss of one window: `overlap` steps already scored, then new ones."""

  def summed(params, carry, batch):
    length = duration(batch)
    new = length - overlap
    silent = max(new - reach, 0)  # new steps that the gradient does not reach
    # The next window starts after as many steps as were new in this one.
    cuts = sorted({0, new, overlap, silent, length})
    total = weight = jnp.zeros((), jnp.float32)
    sums: dict[str, Sums] = {}
    onward = carry
    for start, stop in itertools.pairwise(cuts):
      if stop <= silent:
        _, (carry, part) = loss(
          jax.lax.stop_gradient(params), carry, steps(batch, start, stop)
        )
        carry = jax.lax.stop_gradient(carry)
      else:
        mean, (carry, part) = loss(params, carry, steps(batch, start, stop))
        if start >= overlap:
          total += mean * part["loss"].count
          weight += part["loss"].count
      if start >= overlap:
        sums = added(sums, part)
      if stop == new:
        onward = carry
    return total, (onward, sums, weight)

  return summed
