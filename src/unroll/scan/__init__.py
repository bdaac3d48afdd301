"""The one scan through time, and its exact backward pass.

Backward passes, all exact: `derived`, of a cell that brings its own; `linear`, of one
whose state is a linear recurrence; `chunked`, of one that takes many steps at once;
`recorded`, of any other, its weight gradients taken after the loop; `adjoint`, as a
tree over time, of a loop or of what `newton` finds without one; and JAX's own. `path`
says which of them a cell takes.
"""

import functools
from typing import Literal

import jax
from jax.sharding import PartitionSpec

from unroll.linear import product
from unroll.parameters import without_gradient
from unroll.placement import axis_of, explicit_mesh, on_mesh, placed, varying
from unroll.reverse_mode import reverse_mode_only
from unroll.scan import (
  adjoint,
  chunked,
  derived,
  linear_state,
  lookup,
  newton,
  recorded,
  whole,
)
from unroll.scan.checks import check
from unroll.scan.checks import check_context as check_context
from unroll.scan.linearised import Steps
from unroll.scan.masks import masked as masked
from unroll.scan.masks import plain
from unroll.scan.matrix import projection, wrapped
from unroll.scan.newton import Report as Report
from unroll.scan.newton import reports as reports
from unroll.scan.newton import stepwise as stepwise
from unroll.scan.path import Note as Note
from unroll.scan.path import Path as Path
from unroll.scan.path import note
from unroll.scan.path import noted as noted
from unroll.scan.path import path as path
from unroll.scan.precision import cast_like, in_one_type, in_type, widest_type
from unroll.types import Array, Carry, Cell, Context, Lookup, Params, is_draw

Backward = Literal["fast", "autodiff", "parallel"]


def unroll(
  cell: Cell,
  params: Params,
  carry: Carry,
  xs: Array | Lookup,
  *,
  context: Context = None,
  valid: Array | None = None,
  reset: Array | None = None,
  reverse: bool = False,
  backward: Backward = "fast",
  every: bool = False,
) -> tuple[Carry, Array]:
  """Runs a cell over T steps.

  At each step: where `reset`, the carry becomes the cell's initial one (also on a
  step that is not valid); the cell steps; where not `valid`, the carry is held and
  the output is zero. What stands in `xs` at steps that are not valid, be it NaN,
  reaches neither outputs nor gradients.

  Args:
    cell: the cell.
    params: its parameters; those that are `parameters.Frozen` have no gradient.
    carry: the carry before the first step; `cell.carry(params, B)` starts afresh.
    xs: `[T, B, ...]`, what `cell.project` takes; or a `Lookup`, of which it projects
      the table where that is less work.
    context: what a cell with `context` reads at every step, any pytree of arrays. It is
      kept once, not for every step. None for other cells.
    valid: `[T, B]`, true at real steps; holes are fine. None: all are.
    reset: `[T, B]`, true where a sequence starts afresh before that step, in the
      order of the scan: with `reverse`, before the steps to its left.
    reverse: runs from the last step to the first; `ys` keep the order of `xs`.
    backward: "fast" takes weight gradients after the loop, exactly, in reverse mode,
      of any order, and in forward mode over that for the same. "parallel" is the same
      gradient of a nonlinear cell, its recurrence as a tree of Jacobians: N² numbers
      for each step of a sequence, N those of a carry. "autodiff" is JAX's own, for
      forward mode.
    every: returns the carry after every step in place of the last.

  Returns:
    The carry after the last valid step, `[B, …]`, or with `every` those after each
    step, `[T, B, …]` in the order of `xs`; and `ys [T, B, …]`.

  Everything but matrices is computed in the widest floating type of parameters, carry,
  inputs and context; `x @ w` rounds x to the type of w and sums in that of x. A
  gradient is summed over the steps in float32 at least, and has the type of what it is
  for.

  Arrays may lie on a mesh of devices, of automatic or explicit axes, or be parts within
  a `shard_map`; T and B may be symbolic, as in `jax.export`. On explicit axes the carry
  that is returned is spread as the batch of `xs` is: a loop of your own around this
  takes it so from the start, by `jax.reshard`. In a `shard_map` it varies over the
  devices as `xs` do; `jax.lax.pcast` makes the first one vary.

  Raises:
    ValueError: if `xs` has no batch axis, a mask is not `[T, B]`, the carry is of
      another batch or cell, an input does not fit its matrix, a number is complex,
      `context` is missing or not read, or `backward` is none of the three.
    TypeError: if "fast" is differentiated in forward mode, or in forward mode over
      reverse for parameters that reverse mode is not for.
  """
  check(cell, params, carry, xs, context, (valid, reset), backward)
  if whole.asked():
    options = {"context": context, "valid": valid, "reset": reset}
    options |= {"reverse": reverse, "every": every}
    return whole.keep(unroll, cell, params, carry, xs, **options)
  params = without_gradient(params)
  masks = tuple(None if mask is None else mask.astype(bool) for mask in (valid, reset))
  way = path(
    *(cell, params, carry, xs),
    context=context,
    valid=valid,
    reset=reset,
    backward=backward,
    every=every,
  )
  note(way, carry, xs)
  read = (params, carry, xs, context)
  if backward != "autodiff":
    read = reverse_mode_only(read)

  def run(cell: Cell, *given):
    fast = backward != "autodiff" and not way.outside
    multiply = projection if fast else product
    return _unroll(cell, way, multiply, backward, reverse, every, *given)

  given = (*read, masks)
  if not way.outside:
    return placed(
      functools.partial(run, cell), given, lambda: _spread(carry, xs, every)
    )
  # Arrays that the cell closes over stay explicit: the loop that JAX makes is then the
  # only one.
  start = on_mesh(explicit_mesh(given), _spread(carry, xs, every=False)[0])
  spread = _resharded(cell, start)
  params, carry, xs, context = read
  return run(spread, params, jax.reshard(carry, start), xs, context, masks)


def _resharded(cell: Cell, spread) -> Cell:
  """The cell, whose every carry lies as a tree of `NamedSharding` says."""

  def step(*given):
    carry, y = cell.step(*given)
    return jax.reshard(carry, spread), y

  def carry(*given):
    return jax.reshard(cell.carry(*given), spread)

  return cell._replace(carry=carry, step=step)


def _spread(carry: Carry, xs: Array | Lookup, every: bool):
  """How the carry and ys are spread: the batch as that of `xs`, or of the carry."""
  ids = xs.ids if isinstance(xs, Lookup) else xs
  leaves = jax.tree.leaves(carry)
  axes = [axis_of(ids, 1), *(axis_of(leaf, 0) for leaf in leaves if leaf.ndim)]
  batch = next((axis for axis in axes if axis), None)

  def spec(leaf):
    if is_draw(leaf):
      return jax.tree.map(lambda _: PartitionSpec(), leaf)
    return PartitionSpec(None, batch) if every else PartitionSpec(batch)

  return jax.tree.map(spec, carry, is_leaf=is_draw), PartitionSpec(None, batch)


def _unroll(cell: Cell, way: Path, multiply, backward, reverse, every, *given):
  """`unroll` by a path, of arrays that lie as a loop wants them."""
  *read, masks = given
  valid, reset = masks
  dtype = widest_type(*read)
  params, carry, xs, context = in_one_type(*read)
  params = cell.prepare(params)
  own = params if way.bare else wrapped(params, multiply)

  def project(xs):
    return cell.project(own, xs)

  if way.table:
    zs = lookup.look_up(project(xs.table[:, None])[:, 0], xs.ids)
  else:
    xs = xs.dense() if isinstance(xs, Lookup) else xs
    zs = project(xs if valid is None else masked(xs, valid))
  initial = None if reset is None else cell.carry(params, xs.shape[1])
  initial = in_type(varying(initial, like=zs), dtype)
  constants = (context,) if cell.context else ()
  rest = (carry, initial, constants, zs, masks, reverse, every)
  if way.name in ("newton", "adjoint"):
    find, tree = _found(cell, way, backward)
    carry, ys = adjoint.run(find, tree, _bare(cell, way), params, *rest)
  elif way.name == "derived":
    assert cell.derivative is not None
    carry, ys = derived.run(cell.derivative, params, *rest)
  elif way.name == "linear":
    assert cell.linear is not None
    carry, ys = linear_state.run(cell.linear, own, *rest)
  elif way.name == "chunked":
    assert cell.chunk is not None
    carry, ys = chunked.run(cell.chunk, params, *rest)
  elif way.name == "recorded":
    carry, ys = recorded.run(cell.step, way.products, params, *rest)
  else:
    carry, ys = plain(_bare(cell, way), params, *rest)
  return cast_like(carry, read[1]), ys


def _bare(cell: Cell, way: Path):
  """The step of a cell, of arrays."""
  if way.products is None:
    return cell.step
  return lambda params, *at: cell.step(wrapped(params), *at)


def _found(cell: Cell, way: Path, backward: Backward):
  """How the states of a nonlinear cell are found, and whether their gradient is a tree.

  That of a diagonal Newton's method is a loop: a tree would have full Jacobians.
  """
  if way.name == "adjoint":
    return Steps.loop, True
  assert cell.newton
  tree = backward == "parallel" or cell.newton.jacobian == "full"
  return functools.partial(newton.states, cell.newton), tree
