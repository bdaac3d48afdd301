"""Cell -> Cell: an influence that is a sum of Kronecker products, right in the mean.

Of a matrix W of a product x W, the influence d states / d W of a sequence is a sum of
outer products, one for each step: of what that step multiplied, and of how its result
moves the states of now. KF-RTRL holds one outer product that has the sum as its mean
over random signs (Mujika, Meier & Steger 2018), OK holds r of them (`optimal`). The
influence of what is no matrix, as of a bias, is held whole.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll import states
from unroll.compose import no_draw
from unroll.gradients.chunks import Chunks
from unroll.gradients.online import units
from unroll.gradients.scheme import Scheme
from unroll.gradients.truncated import truncated
from unroll.types import Array, BadInput, Carry, Cell, Draw, Params

LEAST = 1e-7  # added to norms, that none is zero
# (pushed, new, signs [r + 1, B]) -> r products that have both sums as their mean.
Mix = Callable[["Factors", "Factors", Array], "Factors"]


class Factors(NamedTuple):
  """The influence of a matrix `[D, G]` on S states, as a sum of r outer products.

  Attributes:
    left: `[B, r, D]`.
    states: `[B, r, S, G]`.
  """

  left: Array
  states: Array


class KroneckerCarry(NamedTuple):
  """A cell's carry, and the influence of the parameters on its states.

  Attributes:
    carry: the cell's.
    factors: of each matrix, by number of the leaf.
    whole: of what is no matrix, by number of the leaf: `[B, S, size]`.
    draw: the signs.
  """

  carry: Carry
  factors: dict[int, Factors]
  whole: dict[int, Array]
  draw: Draw


def kf_rtrl(k: int = 1) -> Scheme:
  """KF-RTRL: an influence of one Kronecker product a matrix, k steps an update.

  In one layer the gradient is right in the mean, with less variance than that of
  `uoro`, whose one outer product is of all states and all parameters. A matrix
  `[D, G]` takes D + S G numbers a sequence, and a step S G products by the Jacobian of
  the states. Layers follow their own states; the gradient from an upper layer reaches a
  lower one, and the embedding, within its own step alone.

  Args:
    k: steps of an update, at least 1.
  """
  return truncated(1)._replace(
    chunks=Chunks(k), cell=lambda cell: factored(cell, 1, _balanced)
  )


def factored(cell: Cell, rank: int, mix: Mix) -> Cell:
  """The cell whose gradient through the past is that of its factors.

  Args:
    cell: that multiplies by each of its matrices once, as `x @ w`.
    rank: r, products that are kept of each matrix.
    mix: makes r of them out of r and a new one.

  Raises:
    BadInput: for another cell, when it starts or steps.
  """
  if cell.context or cell.prepare is not Cell._field_defaults["prepare"]:
    raise BadInput(REFUSAL)

  def carry(params: Params, batch: int) -> KroneckerCarry:
    begun = cell.carry(params, batch)
    vector = states.vector(begun)
    factors, whole = {}, {}
    for number, leaf in enumerate(jax.tree.leaves(params)):
      if leaf.ndim == 2:
        left = jnp.zeros((batch, rank, len(leaf)), vector.dtype)
        shape = (batch, rank, vector.shape[1], leaf.shape[1])
        factors[number] = Factors(left, jnp.zeros(shape, vector.dtype))
      else:
        whole[number] = jnp.zeros((*vector.shape, leaf.size), vector.dtype)
    return KroneckerCarry(begun, factors, whole, no_draw())

  def step(params: Params, carry: KroneckerCarry, x: Array):
    held = jax.lax.stop_gradient(carry)
    nothing = jnp.zeros_like(states.vector(held.carry))
    leaves = jax.tree.leaves(params)
    change = _delivered(nothing, leaves, held.factors, held.whole)
    z = cell.project(params, x[None])[0]
    new, y = cell.step(params, states.moved(held.carry, change), z)
    at = units.Step(cell, "all", *jax.lax.stop_gradient((params, held.carry, x)))
    return _followed(at, mix, new, held), y

  return Cell(cell.init, carry, lambda params, xs: xs, step)


REFUSAL = (
  "truncation=kf_rtrl and ok take a cell that multiplies by each of its matrices once, "
  "as x @ w: choose one such as rnn, gru or lstm, without heads or a learned carry, or "
  "use uoro, rtrl or tbptt:K"
)


@jax.custom_vjp
def _delivered(nothing: Array, leaves: list[Array], factors: Any, whole: Any) -> Array:
  """No change of the states; its gradient goes to the parameters by their influence."""
  del leaves, factors, whole
  return nothing


def _delivered_fwd(nothing, leaves, factors, whole):
  return nothing, (leaves, factors, whole)


def _delivered_bwd(residuals, slope):
  leaves, factors, whole = residuals
  grads = []
  for number, leaf in enumerate(leaves):
    if number in factors:
      left, to_states = factors[number]
      to_results = jnp.einsum("bs,brsg->brg", slope, to_states)
      grad = jnp.einsum("brd,brg->dg", left, to_results)
    else:
      grad = jnp.einsum("bs,bsp->p", slope, whole[number])
    grads.append(grad.reshape(leaf.shape).astype(leaf.dtype))
  nothing = jax.tree.map(jnp.zeros_like, (factors, whole))
  return jnp.zeros_like(slope), grads, *nothing


_delivered.defvjp(_delivered_fwd, _delivered_bwd)


def _followed(
  step: units.Step, mix: Mix, new: Carry, held: KroneckerCarry
) -> KroneckerCarry:
  """The influence after a step."""
  multiplied, still = step.still()
  if len(set(multiplied)) < len(multiplied):
    raise BadInput(REFUSAL)
  _, push, lefts = jax.linearize(step.run, still, has_aux=True)
  through = jax.vmap(
    lambda change: push(still._replace(states=change)), in_axes=-1, out_axes=-1
  )
  factors = dict(held.factors)
  for place, (number, left) in enumerate(zip(multiplied, lefts, strict=True)):
    new_states = _by_result(push, still, place)
    rows = left.reshape(len(new_states), -1)
    old = held.factors[number]
    pushed = Factors(old.left, jax.vmap(through, in_axes=1, out_axes=1)(old.states))
    signs = _signs(held.draw, number, (old.left.shape[1] + 1, len(rows)), rows.dtype)
    factors[number] = mix(pushed, Factors(rows[:, None], new_states[:, None]), signs)
  whole = {}
  for number, influence in held.whole.items():
    direct = jnp.zeros_like(influence)
    if number in still.vectors:
      direct = _by_vector(push, still, number)
    whole[number] = through(influence) + direct
  draw = held.draw._replace(t=held.draw.t + 1)
  return KroneckerCarry(new, factors, whole, draw)


def _by_result(push: Any, still: units.Inputs, place: int) -> Array:
  """The derivative of the states to the result of a product, `[B, S, G]`."""
  like = still.products[place]

  def to(one: Array) -> Array:
    changes = list(still.products)
    changes[place] = jnp.broadcast_to(one, like.shape)
    return push(still._replace(products=changes))

  return jax.vmap(to, out_axes=-1)(jnp.eye(like.shape[-1], dtype=like.dtype))


def _by_vector(push: Any, still: units.Inputs, number: int) -> Array:
  """The derivative of the states to a leaf that is no matrix, `[B, S, size]`."""
  like = still.vectors[number]

  def to(one: Array) -> Array:
    changes = {**still.vectors, number: one.reshape(like.shape)}
    return push(still._replace(vectors=changes))

  return jax.vmap(to, out_axes=-1)(jnp.eye(like.size, dtype=like.dtype))


def _signs(draw: Draw, number: int, shape: tuple[int, int], dtype: Any) -> Array:
  """Signs for each sequence, `[…, B]`; without a key all are 1."""
  if draw.key is None:
    return jnp.ones(shape, dtype)
  key = jax.random.fold_in(jax.random.fold_in(draw.key, number), draw.t)
  return jax.random.rademacher(key, shape, dtype)


def _balanced(old: Factors, new: Factors, signs: Array) -> Factors:
  """One outer product whose mean over signs is the sum of two."""
  parts = []
  for one, sign in zip((old, new), signs):
    lengths = jnp.linalg.norm(one.left[:, 0], axis=-1) + LEAST
    widths = jnp.linalg.norm(one.states.reshape(len(sign), -1), axis=-1) + LEAST
    factor = sign * jnp.sqrt(widths / lengths)  # both parts are then as long
    factor = factor[:, None, None]
    parts.append((factor * one.left, one.states / factor[..., None]))
  (left, to_states), (new_left, new_states) = parts
  return Factors(left + new_left, to_states + new_states)
