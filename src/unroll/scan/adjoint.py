"""The gradient of a scan whose states are known, however they were found.

With J_t the Jacobian of step t and λ_t the gradient of the loss to the state after it,

    λ_t = dL/ds_t + λ_{t+1} J_{t+1}ᵀ,

a linear recurrence from the last step to the first: by the implicit function theorem
the gradient of what Newton's method finds, and backpropagation through time of a loop.
Solved as a tree, no step waits for another. All gradients of the parameters are then
one pullback of all steps at once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from unroll.reverse_mode import reverse_mode_only
from unroll.scan.batching import batched_alike
from unroll.scan.linearised import ROUNDINGS, Steps, preceding, solve, times
from unroll.scan.loops import traced_step
from unroll.scan.masks import masked
from unroll.types import Array

# (steps, constants, start, rows) -> the states after every step, `[T, B, N]`.
Find = Callable[[Steps, Any, Array, Any], Array]


def run(
  find: Find,
  tree: bool,
  step,
  params,
  carry,
  initial,
  context,
  zs,
  masks,
  reverse: bool,
  every: bool,
):
  """The scan, its states as `find` finds them.

  Args:
    find: see `Find`.
    tree: whether the gradient's recurrence runs as a tree, with N² numbers for each
      step of a sequence, or as a loop.
    step: of the cell.
    params, carry, initial, context, zs, masks, reverse, every: as of any scan.
  """
  at = (params, carry, zs[0], *context)
  place = traced_step(
    lambda carry, z: (*step(params, carry, z, *context), ()), carry, zs[0]
  )[0]
  # What the step closes over becomes an argument, or it would have no gradient.
  step, closed = jax.closure_convert(step, *at)
  steps = Steps(step, jax.eval_shape(lambda: carry))
  constants = (params, initial, *context, *closed)
  rows = (zs, masks)
  if reverse:
    rows = jax.tree.map(lambda leaf: leaf[::-1], rows)
  start = steps.vector(carry)
  found = _differentiated(steps, find, tree)(
    *reverse_mode_only((constants, start, rows[0])), rows[1]
  )
  carries = steps.carry(found)
  if place is None:
    ys = steps.all(constants, preceding(found, start), rows)[1]
  else:
    ys = jax.tree.leaves(carries)[place]
    ys = ys if rows[1][0] is None else masked(ys, rows[1][0])
  last = jax.tree.map(lambda leaf: leaf[-1], carries)
  if reverse:
    carries, ys = jax.tree.map(lambda leaf: leaf[::-1], (carries, ys))
  return carries if every else last, ys


def _differentiated(steps: Steps, find: Find, tree: bool):
  """`find` as a function of arrays, with the gradient of its states."""

  @jax.custom_vjp
  def states(constants, start, zs, masks):
    return find(steps, constants, start, (zs, masks))

  def forward(*given):
    found = batched_alike(states(*given), given[:3])
    return found, (*given, found)

  def backward(residuals, d_states):
    constants, start, zs, masks, found = residuals
    before = preceding(found, start)
    at = (steps, constants, before, (zs, masks), d_states)
    gradient = _tree(*at) if tree else _loop(*at)

    def once(constants, before, zs):
      return steps.all(constants, before, (zs, masks))[0]

    _, pullback = jax.vjp(once, constants, before, zs)
    d_constants, d_before, d_zs = pullback(gradient)
    return d_constants, d_before[0], d_zs, None

  states.defvjp(forward, backward)
  return states


def _tree(steps: Steps, constants, before: Array, rows, d_states: Array) -> Array:
  """λ of every step; by the loop where products of many Jacobians overflow."""
  _, factors = steps.linear("full", constants, before, rows)
  following = jnp.concatenate([factors[1:], jnp.zeros_like(factors[:1])])
  turned = jnp.swapaxes(following, -1, -2)
  found = solve(turned[::-1], d_states[::-1])[::-1]
  behind = jnp.concatenate([found[1:], jnp.zeros_like(found[:1])])
  off = found - d_states - times(behind[..., None, :], turned)[..., 0, :]
  most = jnp.max(jnp.abs(found), initial=0.0)
  most = ROUNDINGS * float(jnp.finfo(found.dtype).eps) * most
  return jax.lax.cond(
    jnp.all(jnp.abs(off) <= most),
    lambda: found,
    lambda: _loop(steps, constants, before, rows, d_states),
  )


def _loop(steps: Steps, constants, before: Array, rows, d_states: Array) -> Array:
  """λ of every step, from the last to the first."""

  def body(behind, row):
    before, row, d_state = row
    own = behind + d_state
    _, pullback = jax.vjp(lambda b: steps.one(constants, b, row)[0], before)
    return pullback(own)[0], own

  nothing = jnp.zeros_like(d_states[0])
  return jax.lax.scan(body, nothing, (before, rows, d_states), reverse=True)[1]
