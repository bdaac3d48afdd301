"""A weight matrix as a cell sees it: `x @ w` is ours to define, all else is plain."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from unroll import linear
from unroll.linear import product, weight_gradient
from unroll.parameters import is_matrix
from unroll.reverse_mode import reverse_mode_only
from unroll.types import Array, Params

LARGE = 2**22  # bytes of a matrix: too many for all caches that are a core's own
LOOPS = 32  # steps that pay for a transposed copy of it
ROWS = 32  # sequences on a device that fill a block of a bfloat16 product


class Mismatch(ValueError):
  """An input whose last axis is not the first of the matrix it is multiplied by."""


class Matrix:
  """Stands for a weight matrix in a cell's parameters, and takes over `x @ w`.

  Args:
    w: the matrix.
    multiply: `(x, w) -> x @ w`.
    name: where it stands among the parameters, for errors.
  """

  def __init__(
    self,
    w: Array,
    multiply: Callable[[Array, Array], Array] = product,
    name: str = "",
  ):
    self._w = w
    self._multiply = multiply
    self._name = name

  def __rmatmul__(self, x: Array) -> Array:
    if x.ndim and x.shape[-1] != self._w.shape[0]:
      raise Mismatch(
        f"an input of shape {x.shape} is multiplied by params{self._name} of shape "
        f"{self._w.shape}: its last axis must be {self._w.shape[0]}"
      )
    return self._multiply(x, self._w)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._w, name)

  def __getitem__(self, index: Any) -> Array:
    return self._w[index]

  def __iter__(self) -> Iterator[Array]:
    return iter(self._w)


def _is_factor(path: tuple, leaf: Array) -> bool:
  """Whether a parameter is a matrix that a `Matrix` can stand for."""
  return leaf.ndim == 2 and is_matrix(path, leaf)


def wrapped(params: Params, multiply: Callable[[Array, Array], Array] = product):
  """Parameters whose matrices multiply by `multiply`: every path multiplies alike."""
  return named_matrices(params, lambda index, leaf, name: Matrix(leaf, multiply, name))


def named_matrices(params: Params, make: Callable[[int, Array, str], Matrix]) -> Params:
  """Parameters with `make(index, matrix, name)` for each matrix among the leaves."""
  index = itertools.count()

  def named(path, leaf):
    i = next(index)
    return make(i, leaf, jax.tree_util.keystr(path)) if _is_factor(path, leaf) else leaf

  return jax.tree_util.tree_map_with_path(named, params)


def looped(params: Params, zs: Array, *, transposed: bool = False) -> Params:
  """Parameters, or those with their matrices transposed, for a loop over `[T, B, …]`.

  A loop of one step copies no matrix: generation runs one for every token.
  """
  steps, rows = zs.shape[0], zs.shape[1] // linear.spread_over(zs)
  copied = linear.transposed if linear.at_least(steps, 2) else jnp.transpose

  def matrix(path, leaf):
    if not _is_factor(path, leaf):
      return leaf
    if not (_large(leaf, rows) and (transposed or linear.at_least(steps, LOOPS))):
      return Matrix(copied(leaf) if transposed else leaf)
    w, w_t = (leaf.T, leaf) if transposed else (leaf, copied(leaf))
    return Matrix(w, functools.partial(_by_columns, w_t))

  return jax.tree_util.tree_map_with_path(matrix, params)


def _large(w: Array, rows: int) -> bool:
  """Whether the order in which a core reads the matrix matters."""
  if jax.default_backend() != "cpu":
    return False
  # XLA packs a bfloat16 matrix again for every product in which it is the right
  # factor; as the left one it is read as it is, but in blocks of ROWS columns.
  packed = (
    w.dtype == jnp.bfloat16
    and linear.at_least(rows, ROWS)
    and w.nbytes >= linear.SIZABLE
  )
  return packed or w.nbytes >= LARGE


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


def projection(x: Array, w: Array) -> Array:
  """x @ w, with a gradient that XLA takes without copying the cotangent first."""
  return _projection(*reverse_mode_only((x, w)))


_projection = jax.custom_vjp(product)


def _projection_fwd(x, w):
  return product(x, w), (x, w)


def _projection_bwd(residuals, dz):
  x, w = residuals
  return product(dz, w.T).astype(x.dtype), weight_gradient(x, dz, w.dtype)


_projection.defvjp(_projection_fwd, _projection_bwd)
