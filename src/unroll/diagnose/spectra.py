"""Eigenvalues of the matrices that a cell multiplies its state by."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll.scan.products import products_of
from unroll.types import Cell, Params


def spectral_radii(
  cell: Cell, params: Params, input_size: int
) -> dict[str, list[float]]:
  """The largest absolute value of the `eigenvalues` of each recurrent matrix."""
  return {
    name: [float(np.abs(each).max()) for each in matrices]
    for name, matrices in eigenvalues(cell, params, input_size).items()
  }


def eigenvalues(
  cell: Cell, params: Params, input_size: int
) -> dict[str, list[NDArray]]:
  """The eigenvalues of each recurrent matrix.

  Recurrent are those that a step multiplies, as `x @ w`; `[H, kH]` are k matrices side
  by side, of the gates in the cell's order. Others than square ones have none.

  Args:
    cell: of one layer, of inputs `[T, B, D]`.
    params: its parameters.
    input_size: D.

  Returns:
    By the name of the parameter, `[H]` a matrix, real or complex; nothing of a cell
    of which the step does other than multiply by whole matrices.
  """
  params = cell.prepare(params)
  z = cell.project(params, jnp.zeros((1, 1, input_size)))[0]
  products, _ = products_of(cell.step, params, cell.carry(params, 1), z)
  leaves = jax.tree_util.tree_leaves_with_path(params)
  found = {}
  for index in sorted({product.leaf for product in products or ()}):
    path, matrix = leaves[index]
    rows, columns = matrix.shape
    if columns % rows == 0:
      blocks = np.split(np.asarray(matrix, np.float64), columns // rows, axis=1)
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      found[name] = [np.linalg.eigvals(block) for block in blocks]
  return found
