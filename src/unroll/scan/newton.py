"""The states of all steps of a nonlinear cell, by Newton's method: DEER and its kin.

The states are where every step maps each to the next. With F_t what a step makes of the
state before it and J_t its derivative there, an iteration adds to the states

    δ_t = J_t δ_{t-1} + F_t - s_t,   δ_0 = 0,

a linear recurrence. Where it does not converge, a loop of steps takes over.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll.newton import Newton
from unroll.placement import varying
from unroll.scan.linearised import ROUNDINGS, Steps, preceding, solve
from unroll.types import Array


class Report(NamedTuple):
  """How a scan by Newton's method went.

  Attributes:
    iterations: that were taken.
    residual: the largest difference between a state and what the step makes of the
      one before, of the largest number of that state or of 1.
    converged: whether that is below the tolerance; if not, the states are those of a
      loop of steps.
  """

  iterations: Array
  residual: Array
  converged: Array


# Whom scans tell how they went: None, nobody; False: there is nothing to tell, as all
# steps are taken one by one. Programs traced for one are not taken for the other.
_told: Any = jax.make_user_context(None)


@contextlib.contextmanager
def reports() -> Iterator[list[Report]]:
  """A list that comes to hold the report of every scan by Newton's method within.

  Scans that are compiled within tell; it costs them a call of the host each.
  """
  found: list[Report] = []

  def tell(*report):
    found.append(Report(*(leaf.item() for leaf in report)))

  with _told(tell):
    yield found
    jax.effects_barrier()


def stepwise() -> Any:
  """A context in which cells that ask for Newton's method take step by step."""
  return _told(False)


def is_stepwise() -> bool:
  """Whether they do."""
  return _told.value is False


def states(way: Newton, steps: Steps, constants, start: Array, rows) -> Array:
  """The states after every step, `[T, B, N]`, exact to rounding either way.

  Args:
    way: how they are found.
    steps: of the cell.
    constants: what every step reads.
    start: the state before the first, `[B, N]`.
    rows: what each step reads, of T rows.
  """
  length = len(jax.tree.leaves(rows)[0])
  found, report = _iterated(steps, way, length, constants, start, rows)
  tell: Callable | None = _told.value
  if tell:
    jax.debug.callback(tell, *report)
  return jax.lax.cond(
    report.converged,
    lambda: found,
    lambda: steps.loop(constants, start, rows),
  )


def _iterated(steps: Steps, way: Newton, length: int, constants, start, rows):
  """The states that the iteration ends with, and how it went."""
  tolerance = way.tolerance
  if tolerance is None:
    tolerance = ROUNDINGS * float(jnp.finfo(start.dtype).eps)

  largest = float(jnp.finfo(start.dtype).max) ** 0.5

  def off(states):
    after, _ = steps.all(constants, preceding(states, start), rows)
    size = jnp.max(jnp.abs(states), axis=-1, keepdims=True, initial=1.0)
    share = jnp.abs(after - states) / size
    # XLA may lose a NaN in a maximum.
    return jnp.max(jnp.where(jnp.isfinite(share), share, jnp.inf), initial=0.0)

  def unsettled(at):
    _, residual, count = at
    return ~(residual <= tolerance) & (count < min(way.iterations, length))

  def iteration(at):
    states, _, count = at
    before = preceding(states, start)
    after, factors = steps.linear(way.jacobian, constants, before, rows)
    if way.damping:
      factors = (1 - way.damping) * factors
    moved = states + solve(factors, after - states)
    # A product of many Jacobians may grow beyond all that can be multiplied.
    moved = jnp.where(jnp.abs(moved) < largest, moved, after)
    return moved, off(moved), count + 1

  guess = jnp.broadcast_to(start, (length, *start.shape))
  unknown = varying(jnp.asarray(jnp.inf, start.dtype), like=(start, rows))
  at = (guess, unknown, jnp.zeros((), jnp.int32))
  found, residual, count = jax.lax.while_loop(unsettled, iteration, at)
  return found, Report(count, residual, residual <= tolerance)
