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

from unroll.ngram import discounts as discounts_lib
from unroll.ngram.backoff import Backoff, Floats
from unroll.ngram.counts import Counts
from unroll.ngram.discounts import Discounts
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
  for order in range(1, trie.order + 1):
    own = each[order - 1]
    if discount:
      chosen.append(discounts_lib.given(discount, kinds))
    else:
      chosen.append(discounts_lib.estimated(own, kinds, order, warn))
    contexts = trie.contexts(order) if order > 1 else np.zeros(trie.radix, np.int64)
    places = trie.count(order - 1) if order > 1 else 1
    shorter = lower if order == 1 else lower[suffixes[order - 2]]
    split = _interpolated if interpolated else _backing_off
    probs, left = split(own, chosen[-1], contexts, places, shorter, trie.size)
    if order == 1:
      probs[own == 0] = (left[0] * shorter)[own == 0]
      probs[-1] = 0
    else:
      weights.append(np.log(left))
    with np.errstate(divide="ignore"):  # of the start of a sentence
      log_probs.append(np.log(probs))
    lower = probs
  return Estimate(Backoff(trie, tuple(log_probs), tuple(weights)), tuple(chosen))


def _interpolated(
  counts: Ids, discounts: Discounts, contexts: Ids, places: int, lower: Floats, size: int
) -> tuple[Floats, Floats]:
  """Probabilities of n-grams, and the weights of their contexts, 1 where none follows.

  Args:
    counts: of the n-grams.
    discounts: of their order.
    contexts: the number of each one's context.
    places: how many contexts there may be.
    lower: p(w | h without its first token) of each.
    size: V.
  """
  del size
  totals = np.bincount(contexts, counts, places)
  off = discounts.of(counts)
  left = _share(np.bincount(contexts, off, places), totals)
  # An n-gram that was not counted, as a single token, has what is left alone.
  return (counts - off) / totals[contexts] + left[contexts] * lower, left


def _backing_off(
  counts: Ids, discounts: Discounts, contexts: Ids, places: int, lower: Floats, size: int
) -> tuple[Floats, Floats]:
  """The same where shorter contexts have only tokens that did not follow longer ones."""
  totals = np.bincount(contexts, counts, places)
  off = discounts.of(counts)
  seen = np.bincount(contexts, counts > 0, places)
  probs = (counts - off) / totals[contexts]
  covered = np.bincount(contexts, np.where(counts > 0, lower, 0), places)
  full = seen == size
  left = _share(np.bincount(contexts, off, places), totals)
  scaled = np.where(full, 1 - left, 1)
  rest = np.where(full | (seen == 0), 1, 1 - covered)
  return probs / scaled[contexts], np.where(full, 1, left / rest)


def _share(parts: Floats, totals: Floats) -> Floats:
  """Parts of totals; 1 where there is nothing at all."""
  return np.divide(parts, totals, out=np.ones_like(totals), where=totals > 0)


def _continuations(counts: Counts, suffixes: Sequence[Ids]) -> list[Ids]:
  """The counts of Kneser–Ney: after how many different tokens, but in the last order."""
  trie = counts.trie
  found = []
  for order, start in zip(range(1, trie.order), trie.starting()):
    before = np.bincount(suffixes[order - 1], minlength=trie.count(order))
    before[start:] = counts.counts[order - 1][start:]
    found.append(before)
  return [*found, counts.counts[-1]]
