"""Adaptive truncation: a gradient that reaches as far back as its bias asks for."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll import states
from unroll.gradients.chunks import Chunks
from unroll.gradients.scheme import (
  Batch,
  ChunkLoss,
  Estimate,
  Estimator,
  Scheme,
  duration,
  steps,
)
from unroll.gradients.truncated import truncated
from unroll.types import Array, Carry, Params

EVERY = 50  # updates between two looks at how the gradient fades
KEPT = 0.8  # of what was seen, at a look


class Faded(NamedTuple):
  """What is known of how the gradient fades.

  Attributes:
    updates: so many were made.
    norms: `[MAX]`, of the gradient of a step's loss at the carries 0, 1, … steps before
      it: a mean of sequences, and of looks.
    level: the gradient reaches K1 · 2^level steps back.
  """

  updates: Array
  norms: Array
  level: Array


def adaptive(tolerance: float, k1: int = 16, most: int | None = None) -> Scheme:
  """A gradient every k1 steps that reaches so far that it is biased by a share at most.

  Every `EVERY` updates the norm of the gradient of a step's loss is taken at each of
  the MAX carries before it. Beyond the last eighth of them it is taken to fade by a
  constant factor, of a line fitted to the logarithms. What K steps leave out, relative
  to the least that the whole can be, is then a bound of the relative bias, and K is the
  least with a bound below the tolerance (Aicher, Foti & Fox 2019); MAX, if there is
  none. The gradient is that of `truncated(k1, k2)`, of the least k2 = k1, 2 k1, 4 k1, …
  whose every step looks back K steps. All of these are in one program.

  An update takes the time of k2 steps, and of MAX - k2 forward; a look that of MAX
  single steps. Memory is that of `truncated(k1, MAX)`.

  Args:
    tolerance: of the relative bias, above 0.
    k1: new steps an update, at least 1.
    most: MAX, k1 times a power of two; 8 k1 by default.

  Raises:
    ValueError: a number is out of its range.
  """
  most = 8 * k1 if most is None else most
  reaches = [k1]
  while 0 < reaches[-1] < most:
    reaches.append(2 * reaches[-1])
  if not 0 < tolerance < math.inf or k1 < 1 or reaches[-1] != most:
    raise ValueError(
      f"adaptive(tolerance={tolerance}, k1={k1}, most={most}): give a tolerance above "
      "0, k1 of at least 1, and k1 times a power of two"
    )

  def estimator(loss: ChunkLoss) -> Estimator:
    def init(params, carry, batch) -> Faded:
      zero = jnp.zeros((), jnp.int32)
      return Faded(zero, jnp.zeros(most, jnp.float32), zero)

    def level(reach: int, key: Array):
      """`(params, carry, batch) -> Estimate`, of one that reaches so far."""
      scheme = truncated(k1, reach).estimator(loss)

      def take(params, carry, batch):
        # The next batch begins after as many steps as are new in this one.
        new, begin = duration(batch) - (most - k1), most - reach
        onward = None
        for start, stop in ((0, min(new, begin)), (min(new, begin), begin)):
          if start < stop:
            carry = _after(loss, params, carry, steps(batch, start, stop))
          onward = carry if stop == new else onward
        rest = steps(batch, begin, duration(batch))
        found = scheme.estimate(params, carry, (), rest, key)
        if onward is None and begin:
          onward = _after(loss, params, carry, steps(batch, begin, new))
        return found if onward is None else found._replace(carry=onward)

      return take

    def estimate(params, carry, memory: Faded, batch, key):
      def look():
        norms = norms_by_lag(loss, params, carry, batch, most)
        norms = jnp.where(
          memory.updates > 0, KEPT * memory.norms + (1 - KEPT) * norms, norms
        )
        needed = reach_for(norms, tolerance)
        enough = [reach - k1 + 1 >= needed for reach in reaches[:-1]] + [needed >= 0]
        chosen = jnp.argmax(jnp.stack(enough)).astype(jnp.int32)
        return memory._replace(norms=norms, level=chosen)

      memory = jax.lax.cond(memory.updates % EVERY == 0, look, lambda: memory)
      levels = [level(reach, key) for reach in reaches]
      found: Estimate = jax.lax.switch(memory.level, levels, params, carry, batch)
      return found._replace(memory=memory._replace(updates=memory.updates + 1))

    return Estimator(init, estimate)

  return Scheme(estimator, chunks=Chunks(k1, most - k1))


def _after(loss: ChunkLoss, params: Params, carry: Carry, batch: Batch) -> Carry:
  _, (carry, _) = loss(jax.lax.stop_gradient(params), carry, batch)
  return jax.lax.stop_gradient(carry)


def norms_by_lag(
  loss: ChunkLoss, params: Params, carry: Carry, batch: Batch, most: int
) -> Array:
  """How large the gradient of the last step's loss is at the carries before it.

  Args:
    loss: a chunk loss.
    params: its parameters.
    carry: before the batch.
    batch: of at least `most` steps.
    most: carries to look at.

  Returns:
    `[most]`: at the carry that the last step starts from, and those before it; the mean
    of the sequences, float32.
  """
  early = duration(batch) - most
  if early:
    carry = _after(loss, params, carry, steps(batch, 0, early))
  late = jax.tree.map(lambda leaf: leaf[early:, None], batch)

  def forward(carry, piece):
    return _after(loss, params, carry, piece), carry

  _, begun = jax.lax.scan(forward, carry, late)
  others, last = zip(*map(_split, (begun, late)))

  def value(change: Array, before: Carry, piece: Batch) -> Array:
    return loss(params, states.moved(before, change), piece)[0]

  def size(slope: Array) -> Array:
    return jnp.mean(jnp.linalg.norm(slope, axis=-1)).astype(jnp.float32)

  still = jnp.zeros_like(states.vector(carry))

  def backward(slope, at):
    before, piece = at

    def after(change: Array) -> Array:
      _, (new, _) = loss(params, states.moved(before, change), piece)
      return states.vector(new)

    (slope,) = jax.vjp(after, still)[1](slope)
    return slope, size(slope)

  slope = jax.grad(value)(still, *last)
  _, sizes = jax.lax.scan(backward, slope, others, reverse=True)
  return jnp.concatenate([size(slope)[None], sizes[::-1]])


def _split(tree: Any) -> tuple[Any, Any]:
  """All rows but the last, and the last."""
  rest = jax.tree.map(lambda leaf: leaf[:-1], tree)
  return rest, jax.tree.map(lambda leaf: leaf[-1], tree)


def reach_for(norms: Array, tolerance: float) -> Array:
  """The steps K to reach back that a bound of the relative bias asks for.

  Args:
    norms: `[MAX]`, of the gradient at carries by lag.
    tolerance: what the bound must be below.

  Returns:
    K, 1 to MAX; MAX where nothing less is bounded so.
  """
  most = len(norms)
  end = most - 1 - most // 8  # from here on it fades by a factor a step
  lags = jnp.arange(most, dtype=jnp.float32)
  there = norms > 1e-20
  logs = jnp.where(there, jnp.log(jnp.where(there, norms, 1)), 0)
  count = jnp.maximum(jnp.sum(there), 1).astype(jnp.float32)
  apart = jnp.where(there, lags - jnp.sum(jnp.where(there, lags, 0)) / count, 0)
  factor = jnp.exp(jnp.sum(apart * logs) / jnp.maximum(jnp.sum(apart**2), 1e-9))
  tail = norms[end] / jnp.where(factor < 1, 1 - factor, 1)
  reach = jnp.arange(1, most + 1)
  seen = jnp.cumsum(norms)
  before = jnp.where(reach < end, seen[end - 1] - seen[reach - 1] + tail, 0)
  beyond = tail * factor ** jnp.maximum(reach - end, 0).astype(jnp.float32)
  left_out = jnp.where(reach < end, before, beyond)
  left_out = jnp.where(factor < 1, left_out, jnp.inf)
  bounded = left_out < tolerance * jnp.max(seen - left_out)
  return jnp.where(jnp.any(bounded), jnp.argmax(bounded) + 1, most)
