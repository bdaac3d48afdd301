"""The scan of a cell whose step is `Linear` in its carry: all steps at once."""

from typing import Any

import jax
import jax.numpy as jnp

from unroll import pairs
from unroll.pairs import plus, times
from unroll.scan.masks import masked, where
from unroll.scan.recurrence import before, recurrence
from unroll.types import Linear


def run(
  linear: Linear,
  params,
  carry,
  initial,
  context,
  zs,
  masks,
  reverse: bool,
  every: bool,
):
  """The scan as recurrences, one for each field of the carry; it reads no `context`."""
  assert not context
  _, reset = masks
  fresh = initial or [None] * len(carry)
  left: list[Any] = []
  right: list[Any] = []
  last: list[Any] = []
  for start, again, terms in zip(carry, fresh, linear.terms, strict=True):
    a, b = _masked(*terms(params, tuple(left), zs), again, masks)
    states, end = recurrence(a, b, start, reverse=reverse, evaluation=linear.evaluation)
    seen = before(states, start, reverse)
    left.append(seen if reset is None else _where(reset, _rows(again, seen), seen))
    right.append(states)
    last.append(end)
  before_each, carries = type(carry)(*left), type(carry)(*right)
  ys = linear.read(params, before_each, carries, zs)
  if masks[0] is not None:
    ys = masked(ys, masks[0])
  return carries if every else type(carry)(*last), ys


def _masked(a, b, initial, masks):
  """Terms that hold the state where not `valid`, and start it again where `reset`."""
  valid, reset = masks
  if valid is not None:
    a = _where(valid, _rows(a, b), pairs.ones_like(b))
    b = _where(valid, b, pairs.zeros_like(b))
  if reset is not None:
    a, rows = _rows(a, b), _rows(initial, b)
    b = _where(reset, plus(times(a, rows), b), b)
    a = _where(reset, pairs.zeros_like(a), a)
  return a, b


def _rows(tree, like):
  return jax.tree.map(lambda leaf, b: jnp.broadcast_to(leaf, b.shape), tree, like)


def _where(mask, new, old):
  return jax.tree.map(lambda n, o: where(mask, n, o), new, old)
