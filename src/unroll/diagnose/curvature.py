"""How the loss bends along its gradient and across it, and on the way of a descent.

A step of gradient descent lowers a loss as far as the gradient stays what it was: until
the curvature along the step has turned it. Where the curvature grows with the gradient,
steps have to be short just where the gradient is large, which clipping sees to (Zhang,
He, Sra & Jadbabaie 2020).

Losses are sums over pieces of a sequence, which are read in turn with the state passed
on: what an update sees of each. Memory is that of one piece, however many there are.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from unroll.gradients.scheme import ChunkLoss
from unroll.types import Array, Carry, Key, Params

POINTS = 4  # of a step, where its gradient is compared with that at its start


class Curvature(NamedTuple):
  """Of a loss at parameters θ, with gradient g and Hessian H; v has length 1.

  Attributes:
    loss: the mean.
    norm: |g|.
    along: vᵀ H v of v = g / |g|.
    across: `[N]`, the same of N random directions at right angles to g.
    turned: |H v| of v = g / |g|: how fast the gradient changes along it.
    turned_across: `[N]`, the same of those directions.
  """

  loss: Array
  norm: Array
  along: Array
  across: Array
  turned: Array
  turned_across: Array


class Descent(NamedTuple):
  """N steps of gradient descent: `[N]` each.

  Attributes:
    losses: before the step.
    norms: |g|, before the step.
    lengths: |d| of the step d = -rate · g, cut to rate · clip where it was longer.
    smoothness: the greatest |g(θ + γ d) - g(θ)| / |γ d| at four γ up to 1.
  """

  losses: Array
  norms: Array
  lengths: Array
  smoothness: Array


def curvature(
  loss: ChunkLoss, params: Params, carry: Carry, pieces: Any, key: Key, across: int
) -> Curvature:
  """The curvature of a loss along its gradient and across it, by products with H.

  The Hessian is that of the sum over pieces, each with the carry before it held. A
  product takes a forward and a backward pass with their derivatives: the time of about
  three gradients. To be called under `jax.jit`.

  Args:
    loss: of a piece.
    params: θ.
    carry: before the first piece.
    pieces: batches of one shape, stacked on a leading axis.
    key: for the random directions.
    across: N, how many of these.
  """
  mean, gradient = _gradient(loss, params, carry, pieces)
  norm = jnp.linalg.norm(gradient)
  way = gradient / jnp.where(norm > 0, norm, 1)

  def bent(direction: Array) -> tuple[Array, Array]:
    product = _product(loss, params, carry, pieces, direction)
    return direction @ product, jnp.linalg.norm(product)

  def at(key: Key) -> tuple[Array, Array]:
    drawn = jax.random.normal(key, way.shape, way.dtype)
    beside = drawn - (drawn @ way) * way
    return bent(beside / jnp.linalg.norm(beside))

  along, turned = bent(way)
  over, turned_across = jax.lax.map(at, jax.random.split(key, across))
  return Curvature(mean, norm, along, over, turned, turned_across)


def descent(
  loss: ChunkLoss,
  params: Params,
  carry: Carry,
  pieces: Any,
  rate: float,
  steps: int,
  clip: float = float("inf"),
) -> Descent:
  """Gradient descent on pieces, and how smooth the loss is along its way.

  A step takes four gradients. To be called under `jax.jit`.

  Args:
    loss: of a piece.
    params: where it begins.
    carry: before the first piece, at every step.
    pieces: batches of one shape, stacked on a leading axis.
    rate: of the descent.
    steps: N.
    clip: the norm to which a gradient that is longer is scaled down.
  """
  begin, form = ravel_pytree(params)
  gradient = functools.partial(_gradient, loss, carry=carry, pieces=pieces)

  def step(state, _):
    at, mean, slope = state
    norm = jnp.linalg.norm(slope)
    change = -rate * jnp.minimum(1, clip / jnp.where(norm > 0, norm, 1)) * slope
    length = jnp.linalg.norm(change)

    def part(_, share):
      mean, there = gradient(form(at + share * change))
      moved = share * length
      apart = jnp.linalg.norm(there - slope) / jnp.where(moved > 0, moved, 1)
      return (mean, there), apart

    shares = jnp.arange(1, POINTS + 1, dtype=at.dtype) / POINTS
    after, each = jax.lax.scan(part, (mean, slope), shares)
    found = Descent(mean, norm, length, jnp.max(each))
    return (at + change, *after), found

  _, found = jax.lax.scan(step, (begin, *gradient(params)), length=steps)
  return found


def _gradient(
  loss: ChunkLoss, params: Params, carry: Carry, pieces: Any
) -> tuple[Array, Array]:
  """The mean loss of pieces, and its gradient `[P]`."""

  def one(params: Params, carry: Carry, piece: Any):
    (_, (carry, sums)), slope = jax.value_and_grad(loss, has_aux=True)(
      params, carry, piece
    )
    return ravel_pytree(slope)[0], carry, sums["loss"]

  return _mean(one, params, carry, pieces)


def _product(
  loss: ChunkLoss, params: Params, carry: Carry, pieces: Any, direction: Array
) -> Array:
  """The product of the Hessian of the mean loss with a direction `[P]`."""
  flat, form = ravel_pytree(params)

  def one(params: Params, carry: Carry, piece: Any):
    def slope(flat: Array):
      found, (carry_after, sums) = jax.grad(loss, has_aux=True)(
        form(flat), carry, piece
      )
      return ravel_pytree(found)[0], (carry_after, sums["loss"])

    _, product, (after, counted) = jax.jvp(slope, (flat,), (direction,), has_aux=True)
    return product, after, counted

  return _mean(one, params, carry, pieces)[1]


def _mean(one, params: Params, carry: Carry, pieces: Any) -> tuple[Array, Array]:
  """The mean loss of pieces in turn, and the mean of a vector, by what they count."""
  flat, _ = ravel_pytree(params)

  def add(state, piece):
    carry, total, vectors, count = state
    vector, carry, sums = one(params, carry, piece)
    vectors = vectors + sums.count.astype(flat.dtype) * vector
    return (carry, total + sums.total, vectors, count + sums.count), None

  zero = jnp.zeros((), jnp.float32)
  state = (carry, zero, jnp.zeros_like(flat), zero)
  (_, total, vectors, count), _ = jax.lax.scan(add, state, pieces)
  count = jnp.maximum(count, 1)
  return total / count, vectors / count.astype(flat.dtype)
