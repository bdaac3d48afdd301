"""Complex numbers as pairs of real arrays, which optimisers and norms take as they are.

JAX gives the gradient of a complex number conjugated, so that optimisers that are not
told walk uphill, and clipping reads other norms. The gradient of a pair is that of its
two parts.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Pair(NamedTuple):
  """The complex numbers `re + i·im`: two arrays of one shape."""

  re: Array
  im: Array


def polar(size: Array, angle: Array) -> Pair:
  """`size · exp(i·angle)`."""
  return Pair(size * jnp.cos(angle), size * jnp.sin(angle))


def is_pair(node: Any) -> bool:
  """The `is_leaf` of maps that treat a pair as one number."""
  return isinstance(node, Pair)


def times(a: Any, b: Any) -> Any:
  """`a · b`, each a tree of real arrays and pairs, of one structure."""

  def one(a, b):
    if not is_pair(a):
      return a * b
    return Pair(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)

  return jax.tree.map(one, a, b, is_leaf=is_pair)


def conj(a: Any) -> Any:
  """The conjugates of a tree of real arrays and pairs."""
  return jax.tree.map(
    lambda a: Pair(a.re, -a.im) if is_pair(a) else a, a, is_leaf=is_pair
  )


def plus(a: Any, b: Any) -> Any:
  """`a + b`, of trees."""
  return jax.tree.map(jnp.add, a, b)


def zeros_like(a: Any) -> Any:
  """The number 0, in the shapes of a tree."""
  return jax.tree.map(jnp.zeros_like, a)


def ones_like(a: Any) -> Any:
  """The number 1, in the shapes of a tree."""

  def one(a):
    if not is_pair(a):
      return jnp.ones_like(a)
    return Pair(jnp.ones_like(a.re), jnp.zeros_like(a.im))

  return jax.tree.map(one, a, is_leaf=is_pair)
