"""Cell -> Cell: every step reads a change of its carry beside its input.

The gradient to the changes `[T, B, S]`, at zero, is that to the carries that all steps
read: dL/dcarry_t for every t, in one backward pass of `scan.unroll`, which takes its
usual path.
"""

import jax.numpy as jnp

from unroll import scan, states
from unroll.layers import Layer
from unroll.types import Array, Carry, Cell, Lookup, Params


def probed(cell: Cell) -> Cell:
  """The cell whose carry is changed before each step, by a part of the input.

  Its input is `with_changes(xs, changes)`, `[T, B, D + S]`: x_t, and what is added to
  the states of carry_{t-1}, after a reset. Parameters, carry and outputs are those of
  the cell; so is its gradient where the changes are zero. A step that is not valid
  holds the carry as it was, unchanged. Several layers are one cell as `compose.deep`.

  Args:
    cell: of inputs `[T, B, D]`, projected `[T, B, G]`.
  """

  def project(params: Params, xs: Array) -> Array:
    cut = xs.shape[-1] - sum(states.sizes(cell, params).values())
    zs = cell.project(params, xs[..., :cut])
    return jnp.concatenate([zs, xs[..., cut:].astype(zs.dtype)], axis=-1)

  def step(params: Params, carry: Carry, z: Array, *context):
    cut = z.shape[-1] - sum(states.sizes(cell, params).values())
    carry = states.moved(carry, z[..., cut:])
    return cell.step(params, carry, z[..., :cut], *context)

  return Cell(
    cell.init, cell.carry, project, step, context=cell.context, prepare=cell.prepare
  )


def changes(cell: Cell, params: Params, steps: int, batch: int) -> Array:
  """No change of the states of a cell: zeros `[T, B, S]`, float32 or as its carry."""
  carry = cell.carry(params, batch)
  row = states.vector(carry)
  return jnp.zeros((steps, *row.shape), row.dtype)


def with_changes(xs: Array | Lookup, changes: Array) -> Array:
  """The input of a `probed` cell.

  Args:
    xs: `[T, B, D]`, what the cell reads.
    changes: `[T, B, S]`, what is added to the carry that step t reads.

  Raises:
    ValueError: their T and B differ, or `xs` has another rank.
  """
  xs = xs.dense() if isinstance(xs, Lookup) else xs
  if xs.ndim != 3 or xs.shape[:2] != changes.shape[:2]:
    raise ValueError(
      f"xs has shape {xs.shape} and changes {changes.shape}: give [T, B, D] and "
      "[T, B, S] of one T and B"
    )
  return jnp.concatenate([xs, changes.astype(xs.dtype)], axis=-1)


def probed_layer(cell: Cell, changes: Array) -> Layer:
  """The layer that unrolls a cell with `changes [T, B, S]` of its carries.

  It takes the place of a model's layer, `model.clone(core=probed_layer(…))`, and a loss
  of the model then has a gradient to the changes.
  """

  def unroll(params: Params, carry: Carry, xs: Array | Lookup, **options):
    read = with_changes(xs, changes)
    return scan.unroll(probed(cell), params, carry, read, **options)

  return Layer(cell.init, cell.carry, unroll, cell.context)
