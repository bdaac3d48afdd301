"""What a step keeps of each unit's state by itself: the gate that keeps it.

That is the derivative of a unit's state after a step to the same unit's before, with
the products `x @ W` of the step held as they are. Of an LSTM's memory it is the forget
gate, of a GRU's state the update gate; of a diagonal recurrence the eigenvalue, where
it is complex its modulus. Where a gate or a candidate also reads the state of its own
unit, as through a peephole, it has that part too. It is 0 of a state that reaches the
next step through products alone, as that of a vanilla network or the h of an LSTM. No
cell says which of its numbers are gates: the derivative finds them.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from unroll import states
from unroll.linear import product
from unroll.pairs import Pair
from unroll.scan.masks import select
from unroll.scan.products import products_of, recording
from unroll.types import Array, Carry, Cell, Params

CLOSED, OPEN = 0.1, 0.9  # a gate is saturated below and above (Karpathy et al. 2016)
MIXED = 1e-3  # of the largest derivative: above, units of a state act on one another


def keeping(
  cell: Cell, params: Params, carry: Carry, xs: Array, valid: Array | None = None
) -> dict[str, Array]:
  """The derivatives of every unit's state by its own before, products held.

  Args:
    cell: that reads no context; several layers are one cell as `compose.deep`.
    params: its parameters.
    carry: before the first step, `[B, …]`.
    xs: `[T, B, …]`.
    valid: `[T, B]`; other steps hold the carry, and what stands at them is none of it.

  Returns:
    By state, `layers/0/c`, `[T, B, H]`; the two parts of complex units are one state.
    Left out are states that no step keeps, and those of which units act on one another
    otherwise than through products, as by an outer product or a convolution; all of
    them, where the products of a step cannot be told apart (`scan.path` says why).
  """
  params = cell.prepare(params)
  zs = cell.project(params, xs)
  if products_of(cell.step, params, carry, zs[0])[0] is None:
    return {}
  if valid is None:
    valid = jnp.ones(xs.shape[:2], bool)
  found, mixed = _along(cell, params, carry, zs, valid)
  largest = {name: float(jnp.max(jnp.abs(part))) for name, part in found.items()}
  return {
    name: part
    for name, part in found.items()
    if largest[name] > 0 and float(mixed[name]) <= MIXED * largest[name]
  }


def kept(cell: Cell, params: Params, carry: Carry, z: Array) -> dict[str, Array]:
  """The derivatives of one step, as `keeping` has them of all, of every state.

  Args:
    cell: whose products can be told apart.
    params: prepared.
    carry: before the step, `[B, …]`.
    z: its projected input, `[B, …]`.

  Returns:
    By state, `[B, H]`, those too that `keeping` leaves out.
  """
  push, zero = _held(cell, params, carry, z)
  return {
    name: _size([push(zero.at[:, parts[0]].set(1))[:, units] for units in parts])
    for name, parts in _units(states.sizes(cell, params)).items()
  }


@functools.partial(jax.jit, static_argnames="cell")
def _along(cell: Cell, params: Params, carry: Carry, zs: Array, valid: Array):
  """The derivatives of all steps, and how far units of a state act on one another."""
  zero = jnp.zeros_like(states.vector(carry))
  units_of = _units(states.sizes(cell, params))
  signs = jax.random.rademacher(jax.random.key(0), zero.shape, zero.dtype)

  def step(carry, at):
    z, here = at
    push, _ = _held(cell, params, carry, z)
    own, mixed = {}, {}
    for name, parts in units_of.items():
      begun = zero.at[:, parts[0]].set(1)
      found = [push(begun)[:, units] for units in parts]
      # Of units by themselves, signs go through as they came.
      signed = push(begun * signs)
      off = [
        jnp.abs(signs[:, parts[0]] * signed[:, units] - one)
        for units, one in zip(parts, found)
      ]
      own[name] = jnp.where(here[:, None], _size(found), 0)
      mixed[name] = jnp.max(jnp.where(here[:, None], sum(off), 0))
    return select(here, cell.step(params, carry, z)[0], carry), (own, mixed)

  _, (found, mixed) = jax.lax.scan(step, carry, (zs, valid))
  return found, jax.tree.map(jnp.max, mixed)


def _held(cell: Cell, params: Params, carry: Carry, z: Array):
  """What a step makes of a change of the states `[B, S]`, products held; no change."""
  zero = jnp.zeros_like(states.vector(carry))

  def held(change: Array) -> Array:
    own, _ = recording(params, lambda _, x, w: jax.lax.stop_gradient(product(x, w)))
    return states.vector(cell.step(own, states.moved(carry, change), z)[0])

  return jax.linearize(held, zero)[1], zero


def _size(parts: list[Array]) -> Array:
  """The derivative, or the modulus of the two parts of a complex one."""
  return parts[0] if len(parts) == 1 else jnp.hypot(*parts)


def _units(sizes: dict[str, int]) -> dict[str, list[slice]]:
  """The places of each state's units; of a `Pair`, those of its two parts."""
  ends = list(itertools.accumulate(sizes.values()))
  found = dict[str, list[slice]]()
  for (name, size), end in zip(sizes.items(), ends):
    whole, _, part = name.rpartition("/")
    pair = {f"{whole}/{one}" for one in Pair._fields} <= sizes.keys()
    own = pair and part in Pair._fields
    found.setdefault(whole if own else name, []).append(slice(end - size, end))
  return found


class Gate(NamedTuple):
  """The gate that keeps a state, over steps, sequences and units, without its sign.

  Attributes:
    closed: the share below 0.1, where nearly all is forgotten.
    open: the share above 0.9, where nearly all is kept.
    scales: five numbers, the least, the quartiles and the greatest of the units' time
      scales in steps. That of a unit is -1 / (the mean of log |f|): in so many steps
      f, f', … leave 1/e of it. 0 where it forgets all at some step, infinite where it
      forgets nothing.
  """

  closed: float
  open: float
  scales: list[float]


def gate(factors: ArrayLike, valid: ArrayLike | None = None) -> Gate:
  """The gate of derivatives `[T, B, H]` from `keeping`.

  Args:
    factors: the derivatives.
    valid: bool `[T, B]`, the steps that count; None: all of them.
  """
  rows = np.abs(np.asarray(factors, np.float64))
  if valid is not None:
    rows = rows[np.asarray(valid)]
  rows = rows.reshape(-1, rows.shape[-1])
  with np.errstate(divide="ignore"):
    rate = np.mean(np.log(rows), axis=0)
  scales = np.divide(-1, rate, out=np.full(rate.shape, np.inf), where=rate < 0)
  # Of neighbours of which one is infinite no mean is to be taken.
  five = np.quantile(scales, [0, 0.25, 0.5, 0.75, 1], method="nearest")
  closed, wide = float(np.mean(rows < CLOSED)), float(np.mean(rows > OPEN))
  return Gate(closed, wide, five.tolist())
