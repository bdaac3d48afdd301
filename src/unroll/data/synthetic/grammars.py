"""Words of two grammars: after each symbol, what may come next?

Asked is the set of symbols that may follow, the criterion of Gers & Schmidhuber (2001):
it depends on the word so far alone, so that a model can always be right.
"""

import math

import numpy as np

from unroll.data.examples import Examples
from unroll.data.synthetic.task import MemoryTask

KINDS = 2  # of brackets


def _dyck(random: np.random.Generator, length: int, batch: int) -> Examples:
  pairs = random.integers(1, length // 2, size=batch, endpoint=True)
  steps = 2 * (length // 2)
  opens = _balanced(random, pairs, steps)
  valid = np.arange(steps)[:, None] < 2 * pairs
  kind = random.integers(KINDS, size=(steps, batch), dtype=np.int32)
  depth = np.cumsum(np.where(opens, 1, -1), axis=0, dtype=np.int32)
  # Of the steps that end at one depth, in order, each is in the bracket that was opened
  # last among them.
  order, place = np.argsort(depth, axis=0, kind="stable"), np.arange(steps)[:, None]
  opening = np.where(np.take_along_axis(opens, order, axis=0), place, 0)
  last = np.maximum.accumulate(opening, axis=0)
  inside = np.empty_like(order)
  np.put_along_axis(inside, order, np.take_along_axis(order, last, axis=0), axis=0)
  # 0: outside of all brackets, only an opening one may follow; k: so may its closing.
  targets = np.where(depth > 0, 1 + np.take_along_axis(kind, inside, 0), 0)
  closing = np.concatenate([np.zeros((1, batch), np.int32), targets[:-1]]) - 1
  inputs = np.where(opens, kind, KINDS + closing)
  weight = valid.astype(np.float32)
  inputs, targets = (np.where(valid, x, 0) for x in (inputs, targets))
  return Examples(inputs, targets, weight, valid)


def _balanced(random: np.random.Generator, pairs: np.ndarray, steps: int) -> np.ndarray:
  """Balanced words of n pairs, each as likely: bool `[T, B]`, True opens.

  Of n openings and n + 1 closings in a ring, in any order, one beginning alone makes
  all but the last a balanced word (the cycle lemma; Dvoretzky & Motzkin 1947).
  """
  step, size = np.arange(steps + 1)[:, None], 2 * pairs + 1
  drawn = np.where(step < size, random.random((steps + 1, len(pairs))), 2)
  rank = np.argsort(np.argsort(drawn, axis=0), axis=0)
  up = rank < pairs
  height = np.cumsum(np.where(up, 1, -1), axis=0)
  lowest = np.argmin(np.where(step < size, height, steps), axis=0)
  ring = (lowest + 1 + step[:-1]) % size
  return np.take_along_axis(up, ring, axis=0) & (step[:-1] < 2 * pairs)


def _dyck_loss(length: int) -> float:
  """Of the share of each set after an opening bracket, and after a closing one.

  A word of n pairs closes its outermost bracket 3 n / (n + 2) times in the mean.
  """
  pairs = np.arange(1, length // 2 + 1)
  outside = float(np.mean(3 * pairs / (pairs + 2)) / np.mean(pairs))
  after_closing = _entropy(outside) + (1 - outside) * math.log(KINDS)
  return after_closing / 2  # what is after an opening bracket is known


def _anbncn(random: np.random.Generator, length: int, batch: int) -> Examples:
  n = random.integers(1, _repeats(length), size=batch, endpoint=True)
  step = np.arange(3 * _repeats(length) + 1)[:, None]
  valid = step <= 3 * n
  # 0 begins; then a, b, c are 1, 2, 3.
  inputs = np.where(valid & (step > 0), 1 + (step - 1) // n, 0).astype(np.int32)
  # What may follow: a; a or b; b; c; the end.
  targets = np.select(
    [step == 0, step <= n, step < 2 * n, step < 3 * n, step == 3 * n], [0, 1, 2, 3, 4]
  )
  return Examples(inputs, targets.astype(np.int32), valid.astype(np.float32), valid)


def _repeats(length: int) -> int:
  """The most of each letter in a word that has a beginning as well."""
  return (length - 1) // 3


def _anbncn_loss(length: int) -> float:
  mean = (1 + _repeats(length)) / 2
  # After a b, and after a c: whether it was the last.
  return 2 * mean * _entropy(1 / mean) / (3 * mean + 1)


def _entropy(p: float) -> float:
  """Of a coin, in nats."""
  return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


# Balanced words of two kinds of brackets with 1 to T/2 pairs, a word of n pairs as
# likely as any other; after each symbol, which closing bracket may follow, if any: an
# opening one always may (Suzgun, Gehrmann, Belinkov & Shieber 2019).
DYCK = MemoryTask(
  _dyck, 2 * KINDS, 1 + KINDS, _dyck_loss, "the shares after each symbol", least=4
)

# A beginning, then n times each of a, b and c, with n from 1 to (T - 1)/3; after each
# symbol, which may follow (Gers & Schmidhuber 2001).
ANBNCN = MemoryTask(
  _anbncn, 4, 5, _anbncn_loss, "the shares after each symbol", least=7
)
