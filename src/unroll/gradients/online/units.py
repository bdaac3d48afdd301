"""What a step does within each unit: derivatives of its states, one number a unit.

A unit's states depend on other units through products `x @ w` alone. With those held,
a step is a function of each unit by itself, whose derivative to some number of every
unit is one forward-mode pass for all units at once.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unroll import states
from unroll.linear import product
from unroll.scan.products import recording
from unroll.types import Array, BadInput, Carry, Cell, Params, is_draw

HandsOn = Literal["nothing", "itself", "all"]
REFUSAL = (
  "truncation=snap1, eprop and rflo follow each unit by itself, and this cell's units "
  "depend on each other otherwise than through products by whole matrices: choose a "
  "cell such as rnn, gru or lstm, without heads, noise or a learned carry, or use "
  "snap:N, rtrl or tbptt:K"
)


class Form(NamedTuple):
  """How a leaf of the parameters belongs to units.

  Attributes:
    rest: what stands ahead of the units: `(D,)` of a matrix, `()` of a vector.
    gates: k, numbers of the leaf for each unit; 1 of a number that all units share.
  """

  rest: tuple[int, ...]
  gates: int


def form(leaf: Array, units: int) -> Form | None:
  """The form of a leaf; None if it has no number for each unit."""
  if leaf.size == 1:
    return Form((), 1)
  if leaf.ndim not in (1, 2) or leaf.shape[-1] % units:
    return None
  return Form(leaf.shape[:-1], leaf.shape[-1] // units)


def counts(carry: Carry) -> tuple[int, int]:
  """The states of a unit, and the units: F and H.

  Raises:
    BadInput: the states are not each `[B, H]`, or the carry draws.
  """
  shapes = {part.shape[1:] for part in states.parts(carry)}
  draws = any(map(is_draw, jax.tree.leaves(carry, is_leaf=is_draw)))
  if draws or len(shapes) != 1 or len(next(iter(shapes))) != 1:
    raise BadInput(REFUSAL)
  ((units,),) = shapes
  return states.vector(carry).shape[-1] // units, units


class Slopes(NamedTuple):
  """Derivatives of the states of each unit after a step.

  Attributes:
    states: to each state before it, F times `[B, F, H]`.
    leaves: to the parameters, by number of the leaf: parts of `[B, F, …, k, H]`.
  """

  states: list[Array]
  leaves: dict[int, list[Array]]


def slopes(
  cell: Cell, hands_on: HandsOn, params: Params, carry: Carry, x: Array
) -> Slopes:
  """The derivatives of a step within each unit, at a step.

  Args:
    cell: the cell.
    hands_on: "nothing" or "itself": what a unit reads of itself by a product counts.
    params: its parameters.
    carry: before the step.
    x: `[B, D]`, what it reads.

  Raises:
    BadInput: a unit depends on another otherwise than through a product.
  """
  leaves, tree = jax.tree.flatten((params, carry, x))
  shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
  _check(cell, hands_on, shapes, tree)
  step = Step(cell, hands_on, params, carry, x)
  return step.slopes()


class Inputs(NamedTuple):
  """Changes of all that the states after a step are a function of.

  Attributes:
    states: `[B, S]`.
    products: of the result of each product, `[…, B, kH]`.
    vectors: of the leaves that are no matrices, by number.
  """

  states: Array
  products: list[Array]
  vectors: dict[int, Array]


class Step(NamedTuple):
  """A step as a function of changes, see `Inputs`.

  Attributes:
    cell: the cell.
    hands_on: what of a change of what it multiplies a product hands on: nothing, what
      each unit gets of itself, or all.
    params: the parameters.
    carry: before the step.
    x: `[B, D]`, what it reads.
  """

  cell: Cell
  hands_on: HandsOn
  params: Params
  carry: Carry
  x: Array

  def slopes(self) -> Slopes:
    count, units = counts(self.carry)
    multiplied, still = self.still()
    _, push, lefts = jax.linearize(self.run, still, has_aux=True)

    def pushed(tangent: Inputs) -> Array:
      return push(tangent).reshape(-1, count, units)

    def by_block(like: Array, blocks: int, tangent) -> list[Array]:
      """The derivative to each block of an input, `[…, blocks · H]`."""
      return [
        pushed(tangent(_ones(like, blocks, units, block))) for block in range(blocks)
      ]

    to_states = by_block(still.states, count, lambda ones: still._replace(states=ones))
    to_leaves: dict[int, list[Array]] = {}
    for place, (number, left) in enumerate(zip(multiplied, lefts, strict=True)):

      def of_product(ones: Array, place=place) -> Inputs:
        products = [*still.products[:place], ones, *still.products[place + 1 :]]
        return still._replace(products=products)

      like = still.products[place]
      if like.shape[-1] % units == 0:
        each = by_block(like, like.shape[-1] // units, of_product)
        gates = jnp.stack(each, axis=2)  # [B, F, k, H]
        rows = left.reshape(len(gates), 1, -1, 1, 1)
        to_leaves.setdefault(number, []).append(rows * gates[:, :, None])
    for number, like in still.vectors.items():
      shape = form(like, units)
      if shape:

        def of_vector(ones: Array, number=number) -> Inputs:
          return still._replace(vectors={**still.vectors, number: ones})

        each = by_block(like, shape.gates, of_vector)
        to_leaves.setdefault(number, []).append(jnp.stack(each, axis=2))
    return Slopes(to_states, to_leaves)

  def still(self) -> tuple[list[int], Inputs]:
    """The leaf of each product, and no change."""
    multiplied: list[int] = []

    def probe():
      own, record = recording(self.params, lambda number, x, w: product(x, w))
      self._after(own, self.carry)
      multiplied.extend(leaf for leaf, *_ in record)
      return [out for *_, out in record]

    try:
      outs = jax.eval_shape(probe)
    except (TypeError, ValueError) as error:
      raise BadInput(f"{REFUSAL} ({str(error).splitlines()[0]})") from error
    leaves = enumerate(jax.tree.leaves(self.params))
    return multiplied, Inputs(
      jnp.zeros_like(states.vector(self.carry)),
      [jnp.zeros(out.shape, out.dtype) for out in outs],
      {i: jnp.zeros_like(leaf) for i, leaf in leaves if i not in multiplied},
    )

  def run(self, change: Inputs) -> tuple[Array, list[Array]]:
    """The states after the step, and what its products multiply."""
    leaves, tree = jax.tree.flatten(self.params)
    for number, part in change.vectors.items():
      leaves[number] = leaves[number] + part

    def multiply(number: int, left: Array, w: Array) -> Array:
      if self.hands_on == "all":
        return product(left, w) + change.products[number]
      held = jax.lax.stop_gradient(product(left, w)) + change.products[number]
      _, units = counts(self.carry)
      own = left.shape[-1] == units and w.shape[-1] % units == 0
      if self.hands_on == "nothing" or not own:
        return held
      itself = jnp.diagonal(w.reshape(units, -1, units), axis1=0, axis2=2)  # [k, H]
      moved = (left - jax.lax.stop_gradient(left))[..., None, :]
      itself = jnp.broadcast_to(itself, (*left.shape[:-1], *itself.shape))
      return held + (moved * itself.astype(moved.dtype)).reshape(held.shape)

    own, record = recording(jax.tree.unflatten(tree, leaves), multiply)
    new = self._after(own, states.moved(self.carry, change.states))
    return states.vector(new), [left for _, left, _ in record]

  def _after(self, params: Params, carry: Carry) -> Carry:
    z = self.cell.project(params, self.x[None])[0]
    return self.cell.step(params, carry, z)[0]


def _ones(like: Array, blocks: int, units: int, block: int) -> Array:
  """`[…, blocks · H]` that is 1 in one block; 1 itself where units share a number."""
  if like.size == 1 and blocks == 1:
    return jnp.ones_like(like)
  zeros = jnp.zeros((*like.shape[:-1], blocks, units), like.dtype)
  return zeros.at[..., block, :].set(1).reshape(like.shape)


@functools.lru_cache(maxsize=64)
def _check(cell: Cell, hands_on: HandsOn, shapes: tuple, tree: Any) -> None:
  """Refuses a cell of which a unit depends on another with its products held.

  It is tried at random numbers: all that belongs to the first unit is moved, and what
  belongs to none, and no other unit may be.
  """
  with jax.ensure_compile_time_eval():
    generator = np.random.default_rng(0)
    drawn = [
      jnp.asarray(generator.normal(0.3, 0.5, leaf.shape), leaf.dtype) for leaf in shapes
    ]
    step = Step(cell, hands_on, *jax.tree.unflatten(tree, drawn))
    _, units = counts(step.carry)
    _, still = step.still()

    def first(like: Array) -> Array:
      ones = jnp.ones_like(like)
      if like.shape[-1] % units:
        return ones
      return ones.reshape(-1, units).at[:, 1:].set(0).reshape(like.shape)

    def own(like: Array) -> Array:
      if like.size == 1:  # all units share it
        return jnp.zeros_like(like)
      return first(like) if form(like, units) else jnp.ones_like(like)

    moves = Inputs(
      first(still.states),
      [first(out) for out in still.products],
      {number: own(leaf) for number, leaf in still.vectors.items()},
    )
    push = jax.jit(lambda at, way: jax.jvp(lambda x: step.run(x)[0], (at,), (way,))[1])
    moved = push(still, moves)
    if np.any(np.asarray(moved).reshape(-1, units)[:, 1:]):
      raise BadInput(REFUSAL)
