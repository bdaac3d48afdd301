"""Linear recurrences `s_t = a_t ⊙ s_{t-1} + b_t`: three ways to run them, one gradient.

With λ_t the gradient of s_t, whatever reads it, and ā the conjugate of a,

    λ_t = dL/ds_t + ā_{t+1} ⊙ λ_{t+1},   dL/db_t = λ_t,   dL/da_t = λ_t ⊙ s̄_{t-1}.

The backward pass is a linear recurrence too, from the last step to the first, that
multiplies after it adds. Gradients of any order are therefore made of one function.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll.pairs import conj, ones_like, plus, times, zeros_like
from unroll.scan.batching import batched_alike
from unroll.scan.loops import at, in_place
from unroll.types import Evaluation

SHORT = 64  # steps that are too few for anything but a loop


class _Way(NamedTuple):
  """How a recurrence runs.

  Attributes:
    evaluation: see `recurrence`.
    reverse: from the last step to the first.
    after: multiplies after adding, `s = b_t + s; give s; s = a_t ⊙ s`, as the backward
      pass does.
    conjugate: multiplies by ā_t.
  """

  evaluation: Evaluation
  reverse: bool
  after: bool = False
  conjugate: bool = False


def recurrence(
  a: Any, b: Any, start: Any, *, reverse: bool, evaluation: Evaluation
) -> tuple[Any, Any]:
  """The states `s_t = a_t ⊙ s_{t-1} + b_t` of all steps.

  Args:
    a: the factors: a tree of arrays and `Pair`s, each `[T, B, …]`, or of fewer axes,
      `[…]`, where they are the same at every step.
    b: what is added, of the same structure, `[T, B, …]`.
    start: the state before the first step, `[B, …]`.
    reverse: runs from the last step to the first.
    evaluation: "sequential" is a loop of T steps; "chunked" cuts the sequence into
      about √T chunks, and runs them side by side, twice; "associative" is a tree of
      2 log₂ T levels over the whole sequence. "auto": see `chosen`.

  Returns:
    The states of all steps, `[T, B, …]`, and the last one.
  """
  if _length(b) == 0:
    return b, start
  evaluation = chosen(evaluation, _length(b))
  a = jax.tree.map(
    lambda a, b: a if a.ndim == b.ndim else jnp.broadcast_to(a, b.shape[1:]), a, b
  )
  return _solve(_Way(evaluation, reverse), a, b, start)


def chosen(evaluation: Evaluation, length: Any) -> Evaluation:
  """What is run for what is asked, and T steps.

  "auto" is the loop on a CPU, where chunks, which read everything twice, gained 10 % at
  most. An unknown T (`jax.export`) can only be looped over.
  """
  if not isinstance(length, int):
    return "sequential"
  if evaluation != "auto":
    return evaluation
  looped = jax.default_backend() == "cpu" or length < SHORT
  return "sequential" if looped else "associative"


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _solve(way: _Way, a, b, start):
  return _EVALUATIONS[way.evaluation](way, a, b, start)


def _forward(way: _Way, a, b, start):
  states, last = batched_alike(_solve(way, a, b, start), (a, b, start))
  return (states, last), (a, states, start)


def _backward(way: _Way, residuals, cotangents):
  a, states, start = residuals
  d_states, d_last = cotangents
  back = _Way(way.evaluation, not way.reverse, not way.after, not way.conjugate)
  found, d_start = _solve(back, a, d_states, d_last)
  if way.after:
    d_a = times(before(found, d_last, back.reverse), conj(states))
  else:
    d_a = times(found, conj(before(states, start, way.reverse)))
  if way.conjugate:
    d_a = conj(d_a)
  d_a = jax.tree.map(lambda d, a: d if d.ndim == a.ndim else jnp.sum(d, axis=0), d_a, a)
  return d_a, found, d_start


_solve.defvjp(_forward, _backward)


def _sequential(way: _Way, a, b, start):
  """A loop of T steps: the states are written over what is added."""
  length = _length(b)

  def body(t, state, row):
    new = _stepped(way, _factor(way, a, b, t), row, state)
    return new, plus(row, state) if way.after else new

  first, stride = (length - 1, -1) if way.reverse else (0, 1)
  last, states = in_place((first, stride, length), body, start, b)
  return states, last


def _chunked(way: _Way, a, b, start):
  """Chunks side by side: first where each of them ends, then all of their states.

  Steps that fill no chunk come last, one by one.
  """
  length = _length(b)
  chunks = _chunks(length)
  size = length // chunks
  whole = chunks * size
  if whole < length:
    first, second = slice(0, whole), slice(whole, length)
    if way.reverse:
      first, second = slice(length - whole, length), slice(0, length - whole)
    (a_most, b_most), (a_rest, b_rest) = (_part(a, b, part) for part in (first, second))
    states, last = _chunked(way, a_most, b_most, start)
    more, last = _sequential(way, a_rest, b_rest, last)
    both = (more, states) if way.reverse else (states, more)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *both), last

  def cut(leaf):
    return leaf.reshape(chunks, size, *leaf.shape[1:])

  a = jax.tree.map(lambda a, b: cut(a) if a.ndim == b.ndim else a, a, b)
  b = jax.tree.map(cut, b)
  axes = jax.tree.map(lambda a, b: 0 if a.ndim == b.ndim else None, a, b)
  factors, sums = jax.vmap(functools.partial(_total, way), (axes, 0))(a, b)
  over = _Way("sequential", way.reverse)
  ends, last = _sequential(over, factors, sums, start)
  starts = before(ends, start, way.reverse)
  states, _ = jax.vmap(functools.partial(_sequential, way), (axes, 0, 0))(a, b, starts)
  return jax.tree.map(lambda leaf: leaf.reshape(length, *leaf.shape[2:]), states), last


def _total(way: _Way, a, b):
  """What a chunk multiplies its start by, and what it adds to that."""
  length = _length(b)

  def body(i, total):
    factor, added = total
    t = length - 1 - i if way.reverse else i
    own = _factor(way, a, b, t)
    return times(own, factor), _stepped(way, own, at(b, t), added)

  row = at(b, 0)
  return jax.lax.fori_loop(0, length, body, (ones_like(row), zeros_like(row)))


def _associative(way: _Way, a, b, start):
  """JAX's tree of sums, over pairs of a factor and what is added."""
  a = conj(a) if way.conjugate else a
  a = jax.tree.map(lambda a, b: jnp.broadcast_to(a, b.shape), a, b)
  own = a
  if way.after:
    a = before(a, ones_like(at(a, 0)), way.reverse)

  def both(first, second):
    (a, b), (a_next, b_next) = first, second
    return times(a_next, a), plus(times(a_next, b), b_next)

  factors, sums = jax.lax.associative_scan(both, (a, b), reverse=way.reverse)
  states = plus(sums, times(factors, jax.tree.map(_like, start, sums)))
  last = at(states, 0 if way.reverse else _length(b) - 1)
  if way.after:
    last = times(at(own, 0 if way.reverse else _length(b) - 1), last)
  return states, last


_EVALUATIONS = {
  "sequential": _sequential,
  "chunked": _chunked,
  "associative": _associative,
}


def _factor(way: _Way, a, b, t):
  """That of step t."""
  own = jax.tree.map(lambda a, b: at(a, t) if a.ndim == b.ndim else a, a, b)
  return conj(own) if way.conjugate else own


def _stepped(way: _Way, factor, row, state):
  if way.after:
    return times(factor, plus(row, state))
  return plus(times(factor, state), row)


def before(states: Any, start: Any, reverse: bool) -> Any:
  """The state before each step, of the states after each of them."""

  def shifted(states, start):
    parts = [start[None], states[:-1]]
    if reverse:
      parts = [states[1:], start[None]]
    return jnp.concatenate(parts)

  return jax.tree.map(shifted, states, start)


def _part(a, b, steps: slice):
  """Some of the steps."""
  a = jax.tree.map(lambda a, b: a[steps] if a.ndim == b.ndim else a, a, b)
  return a, jax.tree.map(lambda b: b[steps], b)


def _like(start, states):
  return jnp.broadcast_to(start, states.shape)


def _length(b) -> int:
  return jax.tree.leaves(b)[0].shape[0]


def _chunks(length: int) -> int:
  """About √T: the divisor of T next to it, or √T itself where there is none near."""
  near = math.isqrt(length)
  divisors = [n for n in range(near // 2 + 1, 2 * near + 1) if length % n == 0]
  return min(divisors, key=lambda n: abs(n - near), default=near)
