"""Models of discounted counts: absolute, Kneser–Ney and modified Kneser–Ney.

A token that follows a context h has (c(h w) - D) / c(h). What the discounts take off
goes to the context without its first token: to all tokens (interpolated), or to those
alone that did not follow h (backing off). Below single tokens stands 1 / V.

Kneser–Ney (Kneser and Ney, 1995) counts in all orders but the highest not how often an
n-gram occurs, but after how many different tokens; one that begins a sentence keeps its
count. It is modified with three discounts an order (Chen and Goodman, 1998).
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.ngram import discounts as discounts_lib
from unroll.ngram.backoff import Backoff
from unroll.ngram.counts import Counts
from unroll.ngram.discounts import Discounts
from unroll.ngram.model import Floats
from unroll.ngram.trie import Ids

# name -> how many discounts an order has, and whether lower orders count contexts.
DISCOUNTED = {
  "absolute": (1, False),
  "kneser_ney": (1, True),
  "modified_kneser_ney": (3, True),
}


class Estimate(NamedTuple):
  """A model of discounted counts, and its discounts by order."""

  model: Backoff
  discounts: tuple[Discounts, ...]


def discounted(
  counts: Counts,
  smoothing: str = "modified_kneser_ney",
  *,
  interpolated: bool = True,
  discount: Sequence[float] = (),
  warn: Callable[[str], Any] = warnings.warn,
) -> Estimate:
  """The model of discounted counts.

  Where a context was followed by every token of the vocabulary, backing off has nowhere
  to take what the discounts leave: its probabilities are scaled to add up to 1.

  Args:
    counts: of the n-grams.
    smoothing: a name in `DISCOUNTED`.
    interpolated: whether shorter contexts count also where the longer one was seen.
    discount: of all orders, one number or three; empty: estimated for each.
    warn: called with one sentence for an order that gives no estimate.

  Raises:
    BadInput: `discount` does not fit.
  """
  kinds, continued = DISCOUNTED[smoothing]
  trie = counts.trie
  suffixes = trie.suffixes()
  each = _continuations(counts, suffixes) if continued else list(counts.counts)
  each[0] = each[0].copy()
  each[0][-1] = 0  # the start of a sentence is predicted by nothing
  lower: Floats = np.full(trie.radix, 1 / trie.size)  # after a context one shorter
  log_probs, weights, chosen = [], [], []
  for order, own in enumerate(each, 1):
    if discount:
      chosen.append(discounts_lib.given(discount, kinds))
    else:
      chosen.append(discounts_lib.estimated(own, kinds, order, warn))
    first = order == 1
    level = _Level(
      own,
      chosen[-1].of(own),
      np.zeros(trie.radix, np.int64) if first else trie.contexts(order),
      1 if first else trie.count(order - 1),
      lower if first else lower[suffixes[order - 2]],
    )
    split = _interpolated(level) if interpolated else _backing_off(level, trie.size)
    lower, left = split
    if first:
      lower = np.where(own > 0, lower, left[0] / trie.size)
      lower[-1] = 0
    else:
      weights.append(np.log(left))
    with np.errstate(divide="ignore"):  # of the start of a sentence
      log_probs.append(np.log(lower))
  return Estimate(Backoff(trie, tuple(log_probs), tuple(weights)), tuple(chosen))


class _Level(NamedTuple):
  """The n-grams h w of an order.

  Attributes:
    counts: of each; 0 of a single token that was not seen.
    off: the discount of each.
    contexts: the number of h.
    places: how many contexts there may be.
    lower: p(w | h without its first token).
  """

  counts: Ids
  off: Floats
  contexts: Ids
  places: int
  lower: Floats

  def sums(self, values: NDArray) -> Floats:
    """For each context, the sum over what follows it."""
    return np.bincount(self.contexts, values, self.places).astype(np.float64)


def _interpolated(level: _Level) -> tuple[Floats, Floats]:
  """The probabilities of n-grams, and the weights of contexts, 1 where none follows."""
  totals = level.sums(level.counts)
  left = _share(level.sums(level.off), totals)
  own = (level.counts - level.off) / totals[level.contexts]
  return own + left[level.contexts] * level.lower, left


def _backing_off(level: _Level, size: int) -> tuple[Floats, Floats]:
  """The same where a shorter context has only what did not follow the longer one."""
  totals = level.sums(level.counts)
  left = _share(level.sums(level.off), totals)
  own = (level.counts - level.off) / totals[level.contexts]
  followed = level.counts > 0
  seen, covered = level.sums(followed), level.sums(followed * level.lower)
  full = seen == size
  own /= np.where(full, 1 - left, 1)[level.contexts]
  return own, np.where(full, 1, left / np.where(full | (seen == 0), 1, 1 - covered))


def _share(parts: Floats, totals: Floats) -> Floats:
  """Parts of totals; 1 where there is nothing at all."""
  return np.divide(parts, totals, out=np.ones_like(totals), where=totals > 0)


def _continuations(counts: Counts, suffixes: Sequence[Ids]) -> list[Ids]:
  """The counts of Kneser–Ney: after how many tokens, but in the highest order."""
  trie = counts.trie
  found = []
  for order, start in zip(range(1, trie.order), trie.starting()):
    before = np.bincount(suffixes[order - 1], minlength=trie.count(order))
    before[start:] = counts.counts[order - 1][start:]
    found.append(before)
  return [*found, counts.counts[-1]]
