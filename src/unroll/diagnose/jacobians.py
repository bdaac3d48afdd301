"""Singular values of long products of Jacobians: how much of a change comes through.

Products of many Jacobians have singular values that no float holds beside one another.
Here a product is kept as an orthogonal matrix times a triangular one, with its scale
apart, and so is its inverse: the largest singular value of the one is the largest, that
of the other the inverse of the smallest.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll import states
from unroll.matrices import each
from unroll.types import Array, BadInput, Carry, Cell, Params


class Extremes(NamedTuple):
  """Natural logarithms of singular values, `[number of lags, B]`.

  Attributes:
    largest: above 0, some change of the carry has grown.
    smallest: minus infinity where some change is lost. That of one step is known to
      the rounding of its largest: give a carry of 64 bits (`jax.enable_x64`) where some
      units forget nearly all.
  """

  largest: Array
  smallest: Array


class _Scaled(NamedTuple):
  """A matrix `exp(log) · matrix`, `[B, S, S]` of numbers up to 1, and `[B]`."""

  matrix: Array
  log: Array

  def times(self, matrix: Array) -> "_Scaled":
    """Another matrix, with the scale of this one, scaled anew."""
    size = jnp.max(jnp.abs(matrix), axis=(1, 2), keepdims=True)
    scaled = matrix / jnp.where(size > 0, size, 1)
    return _Scaled(scaled, self.log + jnp.log(size[:, 0, 0]))

  def norm(self) -> Array:
    """The logarithm of the largest singular value, `[B]`."""
    values = each(lambda own: jnp.linalg.svd(own, compute_uv=False), self.matrix)
    return self.log + jnp.log(values[:, 0])


@functools.partial(jax.jit, static_argnames=("cell", "lags"))
def singular_values(
  cell: Cell, params: Params, carry: Carry, xs: Array, lags: tuple[int, ...]
) -> Extremes:
  """The largest and the smallest singular value of dcarry_lag / dcarry_0, by lag.

  The largest is by how much a change of the carry, and a gradient, can grow over so
  many steps, the smallest what is left at least (Pascanu, Mikolov & Bengio 2013; of
  dynamical isometry: Saxe, McClelland & Ganguli 2014). All S directions are carried
  along and made orthonormal after each step by a QR factorisation, as for `lyapunov`; a
  step costs S forward steps and about 10 S³ operations, and memory is that of six
  matrices `[B, S, S]`, whatever the lags.

  Args:
    cell: that reads no context.
    params: its parameters.
    carry: before the first step, `[B, …]`.
    xs: `[T, B, …]`, of at least as many steps as the largest lag.
    lags: steps, from 1 on, in increasing order.

  Raises:
    BadInput: lags are not as described.
  """
  if list(lags) != sorted({*lags}) or not all(1 <= lag <= len(xs) for lag in lags):
    shown = ",".join(map(str, lags))
    raise BadInput(f"lags={shown}: give increasing numbers of 1 to {len(xs)} steps")
  params = cell.prepare(params)
  zs = cell.project(params, xs)
  zero = jnp.zeros_like(states.vector(carry))
  batch, size = zero.shape
  drawn = jax.random.normal(jax.random.key(0), (batch, size, size))
  basis = each(jnp.linalg.qr, drawn)[0]

  def step(state, z):
    carry, basis, ahead, back = state

    def after(change: Array) -> Array:
      return states.vector(cell.step(params, states.moved(carry, change), z)[0])

    _, push = jax.linearize(after, zero)
    pushed = jax.vmap(push, in_axes=2, out_axes=2)(basis)
    basis, triangle = each(jnp.linalg.qr, pushed)
    ahead = ahead.times(triangle @ ahead.matrix)
    undone = each(jax.lax.linalg.triangular_solve, triangle, back.matrix)
    return (cell.step(params, carry, z)[0], basis, ahead, back.times(undone)), None

  one = _Scaled(jnp.broadcast_to(jnp.eye(size), basis.shape), jnp.zeros(batch))
  state, found = (carry, basis.astype(zero.dtype), one, one), []
  for start, stop in zip((0, *lags), lags):
    state, _ = jax.lax.scan(step, state, zs[start:stop])
    *_, ahead, back = state
    smallest = -back.norm()
    lost = ~jnp.isfinite(smallest)
    found.append(Extremes(ahead.norm(), jnp.where(lost, -jnp.inf, smallest)))
  return jax.tree.map(lambda *each: jnp.stack(each), *found)
