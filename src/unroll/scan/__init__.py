"""The one scan through time, and its exact backward pass.

Three backward passes, all exact: `derived`, of a cell that brings its own;
`recorded`, of any other, its weight gradients taken after the loop; and JAX's own.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from unroll.linear import product
from unroll.placement import (
  axis_of,
  closes_over_arrays,
  explicit_mesh,
  placed,
  varying,
)
from unroll.reverse_mode import reverse_mode_only
from unroll.scan import derived, lookup, recorded
from unroll.scan.checks import check, check_projected
from unroll.scan.masks import masked as masked
from unroll.scan.masks import plain
from unroll.scan.matrix import projection, wrapped
from unroll.scan.precision import cast_like, in_type, vectors_in_type, widest_type
from unroll.types import Array, Carry, Cell, Lookup, Params, is_draw

Backward = Literal["fast", "autodiff"]


def unroll(
  cell: Cell,
  params: Params,
  carry: Carry,
  xs: Array | Lookup,
  *,
  valid: Array | None = None,
  reset: Array | None = None,
  reverse: bool = False,
  backward: Backward = "fast",
) -> tuple[Carry, Array]:
  """Runs a cell over T steps.

  At each step: where `reset`, the carry becomes the cell's initial one (also on a
  step that is not valid); the cell steps; where not `valid`, the carry is held and
  the output is zero. What stands in `xs` at steps that are not valid, be it NaN,
  reaches neither outputs nor gradients.

  Args:
    cell: the cell.
    params: its parameters.
    carry: the carry before the first step; `cell.carry(params, B)` starts afresh.
    xs: `[T, B, ...]`, what `cell.project` takes; or a `Lookup`, of which it projects
      the table where that is less work.
    valid: `[T, B]`, true at real steps; holes are fine. None: all are.
    reset: `[T, B]`, true where a sequence starts afresh before that step, in the
      order of the scan: with `reverse`, before the steps to its left.
    reverse: runs from the last step to the first; `ys` keep the order of `xs`.
    backward: "fast" takes weight gradients after the loop, exactly, in reverse mode,
      of any order, and in forward mode over that. "autodiff" is JAX's own, for
      forward mode.

  Returns:
    The carry after the last valid step, and `ys [T, B, H]`.

  Everything but matrices is computed in the widest floating type of parameters, carry
  and inputs; `x @ w` rounds x to the type of w and sums in that of x. A gradient is
  summed over the steps in float32 at least, and has the type of what it is for.

  Arrays may lie on a mesh of devices, of automatic or explicit axes, or be parts within
  a `shard_map`; T and B may be symbolic, as in `jax.export`.

  Raises:
    ValueError: if `xs` has no batch axis, a mask is not `[T, B]`, the carry is of
      another batch or cell, an input does not fit its matrix, or `backward` is neither
      of the two.
    TypeError: if "fast" is differentiated in forward mode.
  """
  check(cell, params, carry, xs, (valid, reset), backward)
  masks = tuple(None if mask is None else mask.astype(bool) for mask in (valid, reset))
  fast, own_carry = backward == "fast", cell.carry
  if fast:
    params, carry, xs = reverse_mode_only((params, carry, xs))
  given = (params, carry, xs, masks)

  def run(params, carry, xs, masks):
    return _unroll(cell, params, carry, xs, masks, reverse, fast)

  def results():
    """How the carry and ys are spread: the batch as that of `xs`, or of the carry."""
    ids = xs.ids if isinstance(xs, Lookup) else xs
    leaves = jax.tree.leaves(carry)
    axes = [axis_of(ids, 1), *(axis_of(leaf, 0) for leaf in leaves if leaf.ndim)]
    batch = next((axis for axis in axes if axis), None)

    def spec(leaf):
      whole = jax.tree.map(lambda _: PartitionSpec(), leaf)
      return whole if is_draw(leaf) else PartitionSpec(batch)

    return jax.tree.map(spec, carry, is_leaf=is_draw), PartitionSpec(None, batch)

  if explicit_mesh(given) and _closes_over_arrays(cell, params, carry, xs):
    # Those arrays stay explicit: the loop that JAX makes of it is then the only one.
    spread, _ = results()
    cell = cell._replace(carry=lambda *args: jax.reshard(own_carry(*args), spread))
    return _unroll(
      cell, params, jax.reshard(carry, spread), xs, masks, reverse, fast=False
    )
  return placed(run, given, results)


def _closes_over_arrays(cell: Cell, params, carry, xs) -> bool:
  def once(wrap, params, carry, xs):
    xs = xs.dense() if isinstance(xs, Lookup) else xs
    zs = _project(cell, params, xs, product)
    z = jnp.zeros(zs.shape[1:], zs.dtype)  # there may be no step
    return cell.carry(params, xs.shape[1]), cell.step(wrap(params), carry, z)

  try:
    return closes_over_arrays(functools.partial(once, wrapped), params, carry, xs)
  except (TypeError, ValueError):  # it does what a Matrix cannot stand for
    return closes_over_arrays(functools.partial(once, lambda p: p), params, carry, xs)


def _unroll(cell: Cell, params, carry, xs, masks, reverse: bool, fast: bool):
  """`unroll` of arrays that lie as a loop wants them."""
  valid, reset = masks
  given, dtype = carry, widest_type(params, carry, xs)
  params = vectors_in_type(params, dtype)
  carry, xs = in_type((carry, xs), dtype)
  multiply = projection if fast else product
  if isinstance(xs, Lookup) and fast and cell.derivative and lookup.pays(xs):
    rows = _project(cell, params, xs.table[:, None], multiply)[:, 0]
    zs = lookup.look_up(rows, xs.ids)
  else:
    xs = xs.dense() if isinstance(xs, Lookup) else xs
    zs = _project(cell, params, xs if valid is None else masked(xs, valid), multiply)
    check_projected(xs, zs)
  initial = None if reset is None else cell.carry(params, xs.shape[1])
  initial = in_type(varying(initial, like=zs), dtype)
  carry, ys = _path(cell, params, carry, initial, zs, masks, reverse, fast)
  return cast_like(carry, given), ys


def _path(cell: Cell, params, carry, initial, zs, masks, reverse: bool, fast: bool):
  """The scan by the fastest backward pass that the cell allows."""
  rest = (carry, initial, zs, masks, reverse)
  if fast and derived.applies(cell, params, carry, zs):
    return derived.run(cell, params, *rest)
  z = jax.ShapeDtypeStruct(zs.shape[1:], zs.dtype)
  products = recorded.products_of(cell.step, params, carry, z)
  if products is None:  # it does with a matrix what a Matrix cannot stand for
    return plain(cell.step, params, *rest)
  if fast and products and zs.shape[0] not in (0, 1):
    return recorded.run(cell.step, products, params, *rest)
  return plain(lambda params, *state: cell.step(wrapped(params), *state), params, *rest)


def _project(cell: Cell, params: Params, xs: Array, multiply) -> Array:
  try:
    return cell.project(wrapped(params, multiply), xs)
  except TypeError:  # it does with a matrix what a Matrix cannot stand for
    return cell.project(params, xs)
