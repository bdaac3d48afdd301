"""A weight matrix as a cell sees it: `x @ w` is ours to define, all else is plain."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from unroll.linear import product, weight_gradient
from unroll.types import Array, Params

# Bytes of a matrix: too many for the first cache, and for all that are a core's own.
SIZABLE, LARGE = 2**18, 2**22
LOOPS = 32  # steps that pay for a transposed copy of it
ROWS = 8  # as many as a set of the first cache has lines


class Matrix:
  """Stands for a weight matrix in a cell's parameters, and takes over `x @ w`."""

  def __init__(self, w: Array, multiply: Callable[[Array, Array], Array] = product):
    self._w = w
    self._multiply = multiply

  def __rmatmul__(self, x: Array) -> Array:
    return self._multiply(x, self._w)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._w, name)

  def __getitem__(self, index: Any) -> Array:
    return self._w[index]

  def __iter__(self) -> Iterator[Array]:
    return iter(self._w)


def is_matrix(leaf: Array) -> bool:
  """Whether a parameter is one that inputs are multiplied by."""
  return leaf.ndim == 2 and jnp.issubdtype(leaf.dtype, jnp.floating)


def wrapped(params: Params, multiply: Callable[[Array, Array], Array] = product):
  """Parameters whose matrices multiply by `multiply`: every path multiplies alike."""
  return jax.tree.map(lambda p: Matrix(p, multiply) if is_matrix(p) else p, params)


def looped(params: Params, steps: int, *, transposed: bool = False) -> Params:
  """Parameters, or those with their matrices transposed, for so many steps of a loop.

  To generate is a loop of one step for every token: that must not copy a matrix.
  """

  def matrix(leaf):
    if not is_matrix(leaf):
      return leaf
    if not (_large(leaf) and (transposed or steps >= LOOPS)):
      return Matrix(_transposed(leaf, steps) if transposed else leaf)
    w, w_t = (leaf.T, leaf) if transposed else (leaf, _transposed(leaf, steps))
    return Matrix(w, functools.partial(_by_columns, w_t))

  return jax.tree.map(matrix, params)


def _transposed(w: Array, steps: int) -> Array:
  """`wᵀ`, for more than one step a copy, made of a few rows at a time.

  XLA makes it column by column, and rows of a power of two all want the same few
  lines of the cache: four to six times as slow.
  """
  rows, columns = w.shape
  sizable = jax.default_backend() == "cpu" and w.nbytes >= SIZABLE
  if not sizable or rows % ROWS or steps == 1:
    return w.T

  def copy(i, turned):
    some = jax.lax.dynamic_slice_in_dim(w, i * ROWS, ROWS)
    return jax.lax.dynamic_update_slice_in_dim(turned, some.T, i * ROWS, axis=1)

  turned = jnp.zeros((columns, rows), w.dtype)
  return jax.lax.fori_loop(0, rows // ROWS, copy, turned)


def _large(w: Array) -> bool:
  """Whether the order in which a core reads the matrix matters."""
  return jax.default_backend() == "cpu" and w.nbytes >= LARGE


def _by_columns(w_t: Array, x: Array, w: Array) -> Array:
  """`x [..., N] @ w [N, M]` as `(wᵀ xᵀ)ᵀ`, which reads wᵀ once, from front to back.

  Of w, XLA reads a few columns at a time, and each of their rows from another page.
  """
  del w
  axes = (((1,), (x.ndim - 1,)), ((), ()))
  y = jax.lax.dot_general(
    w_t, x.astype(w_t.dtype), axes, preferred_element_type=x.dtype
  )
  y = jax.lax.optimization_barrier(y)  # or XLA turns the product around
  return jnp.moveaxis(y, 0, -1)


@jax.custom_vjp
def projection(x: Array, w: Array) -> Array:
  """x @ w, with a gradient that XLA takes without copying the cotangent first."""
  return product(x, w)


def _projection_fwd(x, w):
  return product(x, w), (x, w)


def _projection_bwd(residuals, dz):
  x, w = residuals
  return product(dz, w.T).astype(x.dtype), weight_gradient(x, dz, w.dtype)


projection.defvjp(_projection_fwd, _projection_bwd)
