"""Which of its backward passes a scan takes for a cell, and why: "why is mine slow?"

`unroll` asks `path` and does as it says. The first two are for those who ask for them;
of the others the fastest is first:

- `newton`: the cell asks for Newton's method, and all steps are taken at once.
- `adjoint`: a loop of steps; its gradient is a recurrence that runs as a tree, where
  `backward="parallel"` asks for it.
- `derived`: the cell brings a `Derivative`, and reads nothing else.
- `linear`: the step is `Linear` in the carry, and all steps are taken at once.
- `chunked`: the cell takes many steps at once, as a `Chunk`, and JAX differentiates the
  loop of chunks, each computed again.
- `recorded`: both loops work in place; the products `x @ w` of a step by whole matrices
  of its parameters are recorded, and the gradient of each is one product over all
  steps, after the loop.
- `plain`: JAX differentiates the loop, and adds up the gradients step by step. A cell
  comes to this by what it does with a matrix beside `x @ w`: `x * w`, where the
  parameter should be `Elementwise`, or a product within a `vmap` or loop of the step.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll.placement import closes_over_arrays, explicit_mesh
from unroll.scan import lookup, newton
from unroll.scan.checks import check_projected
from unroll.scan.matrix import wrapped
from unroll.scan.precision import in_one_type
from unroll.scan.products import Product, products_of
from unroll.types import Array, Carry, Cell, Context, Lookup, Params

SHORT = 8  # steps that are too few for chunks
LARGE = 4  # numbers of a carry for each of z, above which a CPU is faster with chunks


Name = Literal["newton", "adjoint", "derived", "linear", "chunked", "recorded", "plain"]


class Path(NamedTuple):
  """How a scan is run and differentiated.

  Attributes:
    name: "newton", "adjoint", "derived", "linear", "chunked", "recorded" or "plain".
    reason: a sentence: why not a faster one.
    table: whether the table of a `Lookup` is projected, in place of the sequence.
    products: each `x @ w` of a step; None where a step takes bare arrays.
    bare: whether `project` takes bare arrays.
    outside: whether the loop runs on the explicit axes of a mesh, as arrays do that
      the cell closes over.
  """

  name: Name
  reason: str
  table: bool = False
  products: tuple[Product, ...] | None = ()
  bare: bool = False
  outside: bool = False


class Note(NamedTuple):
  """A scan that was traced.

  Attributes:
    path: that it took.
    shape: of its inputs, `[T, B, …]`, or of the indices of a `Lookup`.
    carry: the name of the carry's type.
  """

  path: Path
  shape: tuple[int, ...]
  carry: str


_notes: contextvars.ContextVar[list[Note] | None] = contextvars.ContextVar(
  "notes", default=None
)


@contextlib.contextmanager
def noted() -> Iterator[list[Note]]:
  """A list that comes to hold every scan that is traced within, in its thread."""
  found: list[Note] = []
  before = _notes.set(found)
  try:
    yield found
  finally:
    _notes.reset(before)


def note(found: Path, carry: Carry, xs: Array | Lookup) -> None:
  """Tells whoever listens of a scan."""
  if (notes := _notes.get()) is not None:
    shape = (xs.ids if isinstance(xs, Lookup) else xs).shape
    notes.append(Note(found, shape, type(carry).__name__))


def path(
  cell: Cell,
  params: Params,
  carry: Carry,
  xs: Array | Lookup,
  *,
  context: Context = None,
  valid: Array | None = None,
  reset: Array | None = None,
  backward: Literal["fast", "autodiff", "parallel"] = "fast",
  every: bool = False,
) -> Path:
  """The path that `scan.unroll` takes, given the same.

  It runs nothing: the cell is traced. Arrays may be `jax.ShapeDtypeStruct`.

  Raises:
    ValueError: if an input does not fit its matrix.
  """
  explicit = explicit_mesh((params, carry, xs, context, valid, reset)) is not None
  params, carry, xs, context = jax.eval_shape(
    in_one_type, *_shapes((params, carry, xs, context))
  )
  params = jax.eval_shape(cell.prepare, params)
  table = (
    isinstance(xs, Lookup)
    and backward != "autodiff"
    and cell.derivative is not None
    and lookup.pays(xs)
  )
  dense = jax.eval_shape(Lookup.dense, xs) if isinstance(xs, Lookup) else xs
  zs, bare = _projected(cell, params, dense)
  at = (carry, _row(zs), *((context,) if cell.context else ()))
  found = Path("plain", "", table, (), bare)
  if explicit and _closes_over(cell, params, dense, at):
    found = found._replace(table=False, outside=True)
  reason = ""
  if backward != "autodiff" and not found.outside:
    if asked := _asked(cell, backward):
      if not (why := _not_at_once(cell, params, at, zs.shape[0])):
        products, _ = products_of(cell.step, params, *at)
        told = {"newton": "the cell asks for it", "adjoint": "backward='parallel'"}
        return found._replace(name=asked, reason=told[asked], products=products)
      reason = f"not all steps are taken at once, as {why}; "
    if not (why := _not_derived(cell, params, at, zs.shape[0])):
      reason += "the cell brings its derivative"
      return found._replace(name="derived", reason=reason)
    reason += why
    if cell.linear and not cell.context and zs.shape[0] not in (0, 1):
      return found._replace(name="linear", reason="its step is linear in the carry")
    if cell.chunk:
      if not (why := _not_chunked(cell, carry, zs, every)):
        takes = f"it takes {cell.chunk.size} steps at once, by products of matrices"
        return found._replace(name="chunked", reason=takes)
      reason = f"{reason}, it takes single steps as {why}"
  else:
    reason = (
      "it closes over arrays that lie on explicit axes of a mesh"
      if found.outside
      else "backward='autodiff' is asked for"
    )
  products, error = products_of(cell.step, params, *at)
  found = found._replace(reason=reason, products=products)
  if backward == "autodiff" or found.outside:
    return found
  if products is None:
    why = f"its step does with a matrix what cannot be recorded: {error}"
  elif zs.shape[0] in (0, 1):
    why = "the gradient of one step is no sum over steps"
  else:
    found = found._replace(name="recorded")
    if products:
      return found
    why = (
      "its step multiplies by no whole matrix of its parameters as `x @ w`: their "
      "gradients add up step by step"
    )
  return found._replace(reason=f"{reason}, and {why}")


def _asked(cell: Cell, backward: str) -> Literal["newton", "adjoint"] | None:
  """What a nonlinear cell is to take in place of the fastest path."""
  if cell.linear or cell.chunk:  # they have no loop of steps, or ways of their own
    return None
  if cell.newton and not newton.is_stepwise():
    return "newton"
  return "adjoint" if backward == "parallel" else None


def _not_at_once(cell: Cell, params, at, length) -> str:
  """Why the steps of a nonlinear cell cannot be linearised at once, or ""."""
  if not isinstance(length, int):
    return "T is not known yet"
  if length < 2:
    return "there are no two of them"
  leaves = jax.tree.leaves(at[0])
  if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
    return "its carry holds a draw, or a count"
  if not leaves or leaves[0].dtype.itemsize < 4:
    return "its carry is of half precision" if leaves else "it has no state"

  def pushed(params, carry, *at):
    return jax.jvp(
      lambda carry: cell.step(wrapped(params), carry, *at)[0], (carry,), (carry,)
    )

  # A function with a gradient of its own leaves this in place of a derivative.
  by_hand = "custom_lin" in str(jax.make_jaxpr(pushed)(params, *at))
  return "its step has no derivative in forward mode" if by_hand else ""


def _not_derived(cell: Cell, params, at, length) -> str:
  """Why the cell's derivative does not hold all there is to differentiate, or ""."""
  derivative = cell.derivative
  if derivative is None:
    return "the cell brings no derivative"
  if cell.context:
    return "a derivative takes no context"
  if length == 0:
    return "there is no step"
  if closes_over_arrays(
    lambda p, *at: derivative.forward(wrapped(p), *at), params, *at
  ):
    return "the cell's derivative reads arrays that are none of its arguments"
  return ""


def _not_chunked(cell: Cell, carry, zs, every: bool) -> str:
  """Why the steps of a cell that could take many at once are single ones, or "".

  "auto" is chunks where they were the faster on a CPU: a step reads and writes all of
  a carry, and a chunk a few times as much as z has. Elsewhere a loop of many steps is
  slow for its number alone.
  """
  assert cell.chunk is not None
  length, evaluation = zs.shape[0], cell.chunk.evaluation
  if cell.context:
    return "chunks read no context"
  if every:
    return "every carry is asked for"
  if not isinstance(length, int):
    return "T is not known yet"
  if length < 2:
    return "there are no two of them"
  if evaluation == "auto":
    if length < SHORT:
      return f"there are fewer than {SHORT} of them"
    held = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(carry))
    if held < LARGE * math.prod(zs.shape[2:]) and jax.default_backend() == "cpu":
      return "its carry is small"
  return "evaluation='sequential' is asked for" if evaluation == "sequential" else ""


def _projected(cell: Cell, params, xs) -> tuple[jax.ShapeDtypeStruct, bool]:
  """The projected sequence, and whether `project` needs bare arrays for it."""
  try:
    zs = jax.eval_shape(lambda p, xs: cell.project(wrapped(p), xs), params, xs)
    bare = False
  except TypeError:  # it does with a matrix what a Matrix cannot stand for
    zs, bare = jax.eval_shape(cell.project, params, xs), True
  check_projected(xs, zs)
  return zs, bare


def _closes_over(cell: Cell, params, xs, at) -> bool:
  """Whether any function of a cell reads arrays that are none of its arguments."""

  def once(wrap, params, xs, *at):
    zs = cell.project(wrap(params), xs)
    return cell.carry(params, xs.shape[1]), zs, cell.step(wrap(params), *at)

  try:
    return closes_over_arrays(functools.partial(once, wrapped), params, xs, *at)
  except (TypeError, ValueError):  # it does what a Matrix cannot stand for
    return closes_over_arrays(functools.partial(once, lambda p: p), params, xs, *at)


def _row(zs) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(zs.shape[1:], zs.dtype)


def _shapes(tree):
  """A pytree with shapes and types in place of its arrays, wherever they lie."""

  def shape(leaf):
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype)

  return jax.tree.map(shape, tree)
