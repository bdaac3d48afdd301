"""The products `x @ W` of a step: found by tracing it, and made in another way.

Inside a loop each matrix of a cell's parameters is a `Matrix`, and `h @ Matrix` is what
gets recorded, so that the cell's code stays the plain equation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.extend.core import get_opaque_trace_state

from unroll.linear import product
from unroll.scan.matrix import Matrix, Mismatch, named_matrices
from unroll.types import Array


class Product(NamedTuple):
  """A product `x @ W` of a step.

  Attributes:
    leaf: of W among the leaves of the parameters.
    out: the result, as a shape.
    left: x, as a shape.
    place: of x among the leaves of the carry; None where it is none of them.
  """

  leaf: int
  out: jax.ShapeDtypeStruct
  left: jax.ShapeDtypeStruct
  place: int | None


def recording(params, multiply: Callable[[int, Array, Array], Array]):
  """Parameters whose products `x @ W` are recorded.

  Args:
    params: a cell's parameters.
    multiply: `(number of the product, x, W) -> x @ W`.

  Returns:
    The parameters to hand to a step, and the list that the step fills as it runs, of
    `(index, x, x @ W)`.
  """
  trace = get_opaque_trace_state(convention="unroll")
  record: list[tuple[int, Array, Array]] = []

  def multiplier(index):
    def times(x, w):
      if get_opaque_trace_state(convention="unroll") != trace:
        raise TypeError("a product inside a vmap, loop or remat of the step's own")
      y = multiply(len(record), x, w)
      record.append((index, x, y))
      return y

    return times

  def matrix(index, leaf, name):
    return Matrix(leaf, multiplier(index), name)

  return named_matrices(params, matrix), record


def products_of(
  step, params, carry, z, *context
) -> tuple[tuple[Product, ...] | None, str]:
  """The products of a step, in their order.

  None, and why, if the step does with a matrix what a `Matrix` cannot stand for.

  Raises:
    Mismatch: if an input does not fit the matrix that it is multiplied by.
  """
  found: list[Product] = []

  def probe(params, carry, z, *context):
    params, record = recording(params, lambda number, x, w: product(x, w))
    step(params, carry, z, *context)
    leaves = jax.tree.leaves(carry)
    for index, x, y in record:
      place = next((i for i, leaf in enumerate(leaves) if leaf is x), None)
      out, left = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (y, x))
      found.append(Product(index, out, left, place))

  try:
    jax.eval_shape(probe, params, carry, z, *context)
  except Mismatch:
    raise
  except (TypeError, ValueError) as error:
    return None, str(error).split("\n")[0]
  return tuple(found), ""
