"""Cell -> Cell: the influence of each parameter on the states that it soon reaches.

SnAp-n keeps d states / d params where a parameter changes a state within n steps, and
takes it for zero elsewhere (Menick, Elsen, Evci, Osindero, Simonyan & Graves 2021). It
is of use where units read few others, as in blocks that read themselves alone
(`compose.heads`). In a dense layer every parameter reaches every state in two steps,
and SnAp-2 is real-time recurrent learning of that layer, at its price.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from unroll import states
from unroll.gradients.chunks import Chunks
from unroll.gradients.online.transition import read
from unroll.gradients.scheme import Scheme
from unroll.gradients.truncated import truncated
from unroll.parameters import without_gradient
from unroll.types import Array, BadInput, Carry, Cell, Params, is_draw

DRAWS = 16  # of numbers at which a derivative that may be other than zero is one
REFUSAL = (
  "truncation=snap follows what the parameters of a layer reach from step to step, and "
  "this one draws, learns its initial carry, reads a context or takes no vectors: "
  "leave that out, choose another cell, or use tbptt:K"
)


class ReachingCarry(NamedTuple):
  """A cell's carry, and the influence `[B, G, R, M]` of each group of parameters."""

  carry: Carry
  influence: tuple[Array, ...]


class Group(NamedTuple):
  """G sets of M parameters, each of which reaches R states.

  Attributes:
    params: `[G, M]`, places among all parameters.
    states: `[G, R]`, places among all states.
    direct: `[G, R, 1]`, whether the set changes the state within the step itself.
    through: `[G, R, R]`, whether a state changes another within a step.
  """

  params: NDArray[np.int32]
  states: NDArray[np.int32]
  direct: NDArray[np.bool_]
  through: NDArray[np.bool_]


class Reach(NamedTuple):
  """What reaches what in a cell.

  Attributes:
    groups: of the parameters.
    colours: `[C, S]`, 1 where a state has the colour. States of one colour depend on
      different parameters and states, so that one backward pass has the slopes of all.
    colour: `[S]`, that of each state.
  """

  groups: tuple[Group, ...]
  colours: NDArray[np.float32]
  colour: NDArray[np.int32]


def snap(n: int, k: int = 1) -> Scheme:
  """SnAp-n: the influence of what a parameter reaches within n steps, k an update.

  With an n from which on nothing more is reached it is exact within a layer. Its memory
  is R numbers for each parameter and sequence, of R states that the parameter reaches,
  and a step takes R² multiplications for each, beside C backward passes of the step: as
  many as states share a parameter or a state that they read. In blocks of H / heads
  units, R and C are the states of a block from n = 2 on; in a dense layer, all S.
  Layers follow their own states; the gradient from an upper layer reaches a lower one,
  and the embedding, within its own step alone.

  Args:
    n: steps within which a state must be reached, at least 1.
    k: steps of an update, at least 1.
  """
  scheme = truncated(1)
  return scheme._replace(chunks=Chunks(k), cell=lambda cell: reaching(cell, n))


def reaching(cell: Cell, n: int) -> Cell:
  """The cell whose gradient through the past is that of what n steps reach.

  What reaches what is found by trying the cell at random numbers, once.

  Args:
    cell: that reads vectors and draws nothing.
    n: at least 1.

  Raises:
    BadInput: for another cell, when it starts.
  """

  def carry(params: Params, batch: int) -> ReachingCarry:
    begun = cell.carry(params, batch)
    dtype = ravel_pytree(params)[0].dtype
    influence = tuple(
      jnp.zeros((batch, *group.states.shape, group.params.shape[1]), dtype)
      for group in found(params).groups
    )
    return ReachingCarry(begun, influence)

  def step(params: Params, carry: ReachingCarry, x: Array):
    inner, influence = jax.lax.stop_gradient(carry)
    reach, (flat, put) = found(params), ravel_pytree(params)
    # Nothing, whose gradient goes to the parameters by their influence.
    moved = _by_influence(reach, influence, flat - jax.lax.stop_gradient(flat), inner)
    new, y = _stepped(cell, params, states.moved(inner, moved), x)

    def followed(carry, x, influence):
      row = jax.tree.map(lambda leaf: leaf[None], carry)

      def after(flat, change):
        begun = states.moved(row, change[None])
        return states.vector(_stepped(cell, put(flat), begun, x[None])[0])[0]

      still = jnp.zeros_like(states.vector(row)[0])
      return _followed(reach, after, jax.lax.stop_gradient(flat), still, influence)

    at = jax.lax.stop_gradient((inner, x, influence))
    return ReachingCarry(new, jax.vmap(followed)(*at)), y

  def found(params: Params) -> Reach:
    leaves, tree = jax.tree.flatten(params)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    return _reach(cell, n, shapes, tree)

  if cell.context:
    raise BadInput(REFUSAL)
  return Cell(cell.init, carry, lambda params, xs: xs, step)


def _stepped(cell: Cell, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
  params = cell.prepare(params)
  return cell.step(params, carry, cell.project(params, x[None])[0])


def _by_influence(reach: Reach, influence: Any, flat: Array, carry: Carry) -> Array:
  """How the states `[B, S]` move as the parameters `[P]` do, in the past."""
  moved = jnp.zeros_like(states.vector(carry))
  for group, of_group in zip(reach.groups, influence, strict=True):
    own = jnp.einsum("bgrm,gm->bgr", of_group, flat[group.params])
    moved = moved.at[:, group.states].add(own.astype(moved.dtype))
  return moved


def _followed(reach: Reach, after, flat: Array, still: Array, influence: Any) -> Any:
  """The influence after a step, of one sequence."""
  _, pull = jax.vjp(after, flat, still)
  seeds = jnp.asarray(reach.colours, still.dtype)
  to_params, to_states = jax.vmap(pull)(seeds)  # [C, P], [C, S]
  new = []
  for group, old in zip(reach.groups, influence, strict=True):
    rows = reach.colour[group.states][..., None]
    direct = to_params[rows, group.params[:, None]] * group.direct.astype(flat.dtype)
    through = to_states[rows, group.states[:, None]]
    through = through * group.through.astype(still.dtype)
    new.append(through.astype(old.dtype) @ old + direct)
  return tuple(new)


@functools.lru_cache(maxsize=64)
def _reach(cell: Cell, n: int, shapes: tuple, tree: Any) -> Reach:
  """What n steps reach, for parameters of these shapes."""
  to_params, to_states = patterns(cell, jax.tree.unflatten(tree, shapes))
  # Parameters that change the same states are alike.
  columns, kind = np.unique(to_params, axis=1, return_inverse=True)
  reached, step = columns, to_states.astype(np.float32)
  for _ in range(min(n, len(columns)) - 1):
    reached = reached | (step @ reached.astype(np.float32) > 0)
  sets: dict[tuple[int, int], list[tuple[NDArray, NDArray]]] = {}
  for number, column in enumerate(reached.T):
    params, at = np.flatnonzero(kind.ravel() == number), np.flatnonzero(column)
    if at.size:
      sets.setdefault((params.size, at.size), []).append((params, at))
  groups = []
  for alike in sets.values():
    places, to = (np.stack(part).astype(np.int32) for part in zip(*alike))
    direct = to_params[to, places[:, :1]][..., None]
    groups.append(Group(places, to, direct, to_states[to[..., None], to[:, None]]))
  both = np.concatenate([columns, to_states], axis=1).astype(np.float32)
  colour = _coloured(both @ both.T > 0)
  colours = np.arange(colour.max() + 1)[:, None] == colour
  return Reach(tuple(groups), colours.astype(np.float32), colour)


def _coloured(near: NDArray[np.bool_]) -> NDArray[np.int32]:
  """A colour for each of S, another than that of all it is near to, `[S, S]`."""
  colour = np.full(len(near), -1, np.int32)
  for own, row in enumerate(near):
    taken = set(colour[row].tolist())
    colour[own] = next(c for c in range(len(near)) if c not in taken)
  return colour


def patterns(cell: Cell, shapes: Params) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
  """Which parameters `[S, P]`, and which states `[S, S]`, change a state in a step."""
  carry = jax.eval_shape(lambda params: cell.carry(params, 1), shapes)
  draws = any(map(is_draw, jax.tree.leaves(carry, is_leaf=is_draw)))
  if draws or any(read(lambda params: states.vector(cell.carry(params, 1)), shapes)):
    raise BadInput(REFUSAL)
  x = _input(cell, shapes, carry)

  @jax.jit
  def slopes(params, carry, x):
    flat, put = ravel_pytree(params)

    def after(flat, change):
      own = without_gradient(put(flat))
      return states.vector(_stepped(cell, own, states.moved(carry, change), x)[0])[0]

    at = (flat, jnp.zeros_like(states.vector(carry)))
    by_params, by_states = jax.jacrev(after, (0, 1))(*at)
    return by_params != 0, by_states[:, 0] != 0

  with jax.ensure_compile_time_eval():
    generator = np.random.default_rng(0)

    def drawn(leaf):
      scale = np.sqrt(leaf.shape[-2]) if leaf.ndim > 1 else 1.0
      return jnp.asarray(generator.normal(0, 1 / scale, leaf.shape), leaf.dtype)

    tries = [slopes(*jax.tree.map(drawn, (shapes, carry, x))) for _ in range(DRAWS)]
    to_params, to_states = (np.any(np.stack(part), axis=0) for part in zip(*tries))
  return to_params, to_states


def _input(cell: Cell, params: Params, carry: Carry) -> jax.ShapeDtypeStruct:
  """An input that the cell takes: of a width that its parameters are made for."""
  leaves = jax.tree.leaves(params)
  sizes = {size for leaf in leaves for size in leaf.shape}
  wide = {leaf.shape[-1] for leaf in jax.tree.leaves(carry) if leaf.ndim > 1}
  # A matrix may read the state beside the input; the input may hold the time as well.
  widths = sizes | {a - b for a in sizes for b in wide} | {size + 1 for size in sizes}
  for width in sorted(width for width in widths if width > 0):
    x = jax.ShapeDtypeStruct((1, width), leaves[0].dtype)
    try:
      jax.eval_shape(functools.partial(_stepped, cell), params, carry, x)
    except (TypeError, ValueError):
      continue
    return x
  raise BadInput(REFUSAL)
