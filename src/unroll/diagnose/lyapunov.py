"""Lyapunov exponents of the states of a cell along a sequence."""

import functools

import jax
import jax.numpy as jnp

from unroll import states
from unroll.matrices import each
from unroll.scan.masks import select
from unroll.types import Array, BadInput, Carry, Cell, Lookup, Params


@functools.partial(jax.jit, static_argnames=("cell", "k", "settle"))
def lyapunov(
  cell: Cell,
  params: Params,
  carry: Carry,
  xs: Array | Lookup,
  k: int,
  *,
  settle: int = 0,
  valid: Array | None = None,
) -> Array:
  """The k largest exponents of a cell that reads real inputs, nats a step.

  k directions are carried along by the Jacobians of the steps and made orthonormal
  after each, by a QR factorisation; an exponent is the mean logarithm of how much one
  of them grows (Benettin, Galgani, Giorgilli & Strelcyn 1980; of recurrent networks:
  Engelken, Wolf & Abbott 2023). Above 0, nearby states part, and gradients explode;
  below 0 they meet, and gradients vanish. A step costs 1 + k forward steps and a QR
  factorisation of `[S, k]`.

  Args:
    cell: that reads no context.
    params: its parameters.
    carry: before the first step, `[B, …]`.
    xs: `[T, B, …]`.
    k: how many; at most S, the numbers of a carry.
    settle: steps at the start that are not counted, in which directions turn towards
      those that grow most.
    valid: `[T, B]`; other steps hold the carry and the directions, and do not count.
      None: all steps are.

  Returns:
    `[B, k]`, in the order of the directions: largest first, once settled. Minus
    infinity where a direction is lost; NaN where no step of a sequence counts.

  Raises:
    BadInput: the state has fewer numbers than k.
    ValueError: no step is left to count.
  """
  size = states.vector(carry).shape[-1]
  if not 1 <= k <= size:
    raise BadInput(f"exponents={k}: this state has {size} numbers, give 1 to {size}")
  length, batch = xs.shape[:2]
  if not 0 <= settle < length:
    raise ValueError(f"settle={settle} of {length} steps leaves none to count")
  params = cell.prepare(params)
  zs = cell.project(params, xs.dense() if isinstance(xs, Lookup) else xs)
  dtype = states.vector(carry).dtype
  basis = jax.random.normal(jax.random.key(0), (batch, size, k), dtype)
  zero = jnp.zeros((batch, size), dtype)

  if valid is None:
    valid = jnp.ones((length, batch), bool)

  def step(state, at):
    (carry, basis), (z, here) = state, at

    def after(change: Array) -> Array:
      return states.vector(cell.step(params, states.moved(carry, change), z)[0])

    _, push = jax.linearize(after, zero)
    pushed = jax.vmap(push, in_axes=2, out_axes=2)(basis)
    turned, triangle = each(jnp.linalg.qr, pushed)
    growth = jnp.log(jnp.abs(jnp.diagonal(triangle, axis1=1, axis2=2)))
    new = (cell.step(params, carry, z)[0], turned)
    return select(here, new, state), jnp.where(here[:, None], growth, 0)

  start = (carry, each(jnp.linalg.qr, basis)[0])
  _, growth = jax.lax.scan(step, start, (zs, valid))
  counted = jnp.sum(valid[settle:], axis=0).astype(dtype)
  return jnp.sum(growth[settle:], axis=0) / counted[:, None]
