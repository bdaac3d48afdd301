"""An influence of r Kronecker products: the best one that is right in the mean."""

import itertools

import jax
import jax.numpy as jnp

from unroll.gradients.chunks import Chunks
from unroll.gradients.online.kronecker import Factors, factored
from unroll.gradients.scheme import Scheme
from unroll.gradients.truncated import truncated
from unroll.types import Array

SWEEPS = 8  # over all pairs of columns; 6 are enough for 16 of them in float64


def ok(rank: int, k: int = 1) -> Scheme:
  """OK: an influence of the optimal sum of r Kronecker products, k steps an update.

  A step makes r + 1 products of the r before it, and r of those again, of the least
  variance that any r of the right mean have (Benzing, Gauy, Mujika, Martinsson & Steger
  2019): large singular values are kept, and random signs mix the small ones. In one
  layer the gradient is right in the mean, with less variance than that of `kf_rtrl`. A
  matrix `[D, G]` takes r (D + S G) numbers a sequence, and a step r S G products by the
  Jacobian of the states and r² (D + S G) multiplications. Layers follow their own
  states; the gradient from an upper layer reaches a lower one, and the embedding,
  within its own step alone.

  Args:
    rank: r, at least 1.
    k: steps of an update, at least 1.
  """
  return truncated(1)._replace(
    chunks=Chunks(k), cell=lambda cell: factored(cell, rank, _fewer)
  )


def _fewer(old: Factors, new: Factors, signs: Array) -> Factors:
  """r products whose mean over signs is the sum of r + 1, of the least variance."""
  lefts = jnp.concatenate([old.left, new.left], axis=1)
  to_states = jnp.concatenate([old.states, new.states], axis=1)
  rows, count, *shape = to_states.shape
  left_basis, left_parts = _orthogonal(lefts)
  basis, parts = _orthogonal(to_states.reshape(rows, count, -1))
  # The sum is that of core[i, j] times an outer product of the two bases.
  u, values, v = jax.vmap(_singular)(left_parts.mT @ parts)
  root = jax.vmap(_mixing, in_axes=(0, -1))(values, signs)
  left = (u @ root).mT @ left_basis
  return Factors(left, ((v @ root).mT @ basis).reshape(rows, count - 1, *shape))


def _orthogonal(vectors: Array) -> tuple[Array, Array]:
  """Vectors `[B, n, D]` as `parts [B, n, n]` times an orthonormal basis `[B, n, D]`.

  What depends on those before it has a zero in the basis. Gram and Schmidt, twice: n is
  small, and LAPACK's calls for a batch may wait for each other forever in a loop.
  """
  count = vectors.shape[1]
  basis = jnp.zeros_like(vectors)
  parts = jnp.zeros((*vectors.shape[:2], count), vectors.dtype)
  for i in range(count):
    rest = vectors[:, i]
    for _ in range(2):
      share = jnp.einsum("bnd,bd->bn", basis, rest)
      rest = rest - jnp.einsum("bn,bnd->bd", share, basis)
      parts = parts.at[:, i].add(share)
    size, least = (
      jnp.linalg.norm(rest, axis=-1),
      jnp.linalg.norm(vectors[:, i], axis=-1),
    )
    there = size > 4 * jnp.finfo(size.dtype).eps * least
    parts = parts.at[:, i, i].set(jnp.where(there, size, 0))
    unit = rest / jnp.where(there, size, 1)[:, None]
    basis = basis.at[:, i].set(jnp.where(there[:, None], unit, 0))
  return basis, parts


def _singular(core: Array) -> tuple[Array, Array, Array]:
  """Singular values, largest first, and vectors as columns, of `[n, n]`.

  Pairs of columns are turned until all are orthogonal (Hestenes 1958).
  """
  count = len(core)
  pairs = jnp.asarray(list(itertools.combinations(range(count), 2)))

  def turn(number, both):
    one, other = pairs[number % len(pairs)]
    x, y = both[:, one], both[:, other]
    a, b, c = jnp.sum(x[:count] ** 2), jnp.sum(y[:count] ** 2), x[:count] @ y[:count]
    ratio = (b - a) / (2 * jnp.where(c == 0, 1, c))
    slope = jnp.where(ratio < 0, -1, 1) / (jnp.abs(ratio) + jnp.sqrt(1 + ratio**2))
    slope = jnp.where(c == 0, 0, slope)
    cosine = 1 / jnp.sqrt(1 + slope**2)
    both = both.at[:, one].set(cosine * (x - slope * y))
    return both.at[:, other].set(cosine * (slope * x + y))

  both = jnp.concatenate([core, jnp.eye(count, dtype=core.dtype)])
  both = jax.lax.fori_loop(0, SWEEPS * len(pairs), turn, both)
  values = jnp.linalg.norm(both[:count], axis=0)
  order = jnp.argsort(-values)
  u = both[:count] / jnp.where(values > 0, values, 1)[None]
  return u[:, order], values[order], both[count:, order]


def _mixing(values: Array, signs: Array) -> Array:
  """`root [n, n - 1]`, where `root rootᵀ` is diagonal in the mean, of `values`.

  The m largest values are kept, the fewest that leave none of the others above the
  others' sum over n - 1 - m. These are mixed: with s their sum, k = n - 1 - m and
  z² = 1 - k values / s, a unit vector, they become s / k · signs (1 - z zᵀ) signs.
  """
  count = len(values)
  rest = jnp.cumsum(values[::-1])[::-1][:-1]  # of all but the m largest, m = 0, …
  left = jnp.arange(count - 1, 0, -1).astype(values.dtype)
  kept = jnp.argmax(values[:-1] * left <= rest)
  total, k = rest[kept], left[kept]
  small = jnp.arange(count) >= kept
  share = jnp.where(total > 0, values * k / jnp.where(total > 0, total, 1), 1)
  z = jnp.where(small, jnp.sqrt(jnp.maximum(1 - share, 0)), 0)
  # A reflection of z to the last axis: its other columns are those of 1 - z zᵀ.
  normal = z.at[-1].add(1)
  reflected = jnp.eye(count, dtype=z.dtype) - 2 * jnp.outer(normal, normal) / jnp.sum(
    normal**2
  )
  scale = jnp.where(small, signs * jnp.sqrt(total / k), jnp.sqrt(values))
  return scale[:, None] * reflected[:, :-1]
