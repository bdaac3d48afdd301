"""Counts with a constant added: the textbook's smoothing, and poor beyond bigrams."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.ngram.counts import Counts
from unroll.ngram.model import Floats
from unroll.ngram.trie import Ids, at


class Additive(NamedTuple):
  """p(w | h) = (c(h w) + k) / (c(h) + k V), with all the context h that there is.

  That is n - 1 tokens, or from the start of the sentence on. After a context that was
  not seen, all tokens are alike. Laplace's k is 1; another one is Lidstone's (1920).

  Attributes:
    counts: of the n-grams.
    added: k, above 0.
    totals: of orders 1 to n, c(h) of each context h; of order 1 of the empty one.
  """

  counts: Counts
  added: float
  totals: tuple[Ids, ...]

  @property
  def order(self) -> int:
    """n, one more than the tokens of context that count."""
    return self.counts.trie.order

  def score(self, stream: NDArray[np.integer]) -> Floats:
    """The log-probability of each token of a stream; see `Model`."""
    trie, size = self.counts.trie, self.counts.trie.size
    # How far each token is from the start of its sentence, or of the stream.
    places = np.arange(stream.size)
    starts = np.maximum.accumulate(np.where(stream == size, places, 0))
    length = np.minimum(places - starts, self.order - 1)
    found = np.empty(stream.size)
    before = np.zeros(stream.size, np.int64)
    for order, ending in enumerate(trie.walk(stream), 1):
      seen = at(self.counts.counts[order - 1], ending, 0)
      total = at(self.totals[order - 1], before, 0)
      p = np.log(seen + self.added) - np.log(total + self.added * size)
      found = np.where(length >= order - 1, p, found)
      before = np.concatenate([[-1], ending[:-1]])
    return np.where(stream == size, -np.inf, found)

  def next(self, context: Sequence[int]) -> Floats:
    """The log-probabilities of all tokens after a context; see `Model`."""
    trie, size = self.counts.trie, self.counts.trie.size
    context = list(context)
    if size in context:  # what stands before the start of the sentence is another's
      context = context[len(context) - 1 - context[::-1].index(size) :]
    number = (trie.longest(context) or [0])[-1]
    order = min(len(context), self.order - 1) + 1
    counts, total = self.counts.counts[order - 1], 0
    seen = np.zeros(size)
    if order == 1:
      seen, total = counts[:-1].astype(np.float64), int(self.totals[0][0])
    elif number >= 0:
      there = trie.following(order, number)
      seen[trie.keys[order - 2][there] % trie.radix] = counts[there]
      total = int(self.totals[order - 1][number])
    return np.log(seen + self.added) - np.log(total + self.added * size)


def additive(counts: Counts, added: float = 1.0) -> Additive:
  """The model of counts with `added` to each.

  Raises:
    ValueError: `added` is not above 0.
  """
  if not added > 0:
    raise ValueError(f"added={added}: give a number above 0")
  trie = counts.trie
  totals = [np.array([counts.counts[0][:-1].sum()])]
  for order in range(2, trie.order + 1):
    weights = counts.counts[order - 1]
    sums = np.bincount(trie.contexts(order), weights, trie.count(order - 1))
    totals.append(sums.astype(np.int64))
  return Additive(counts, added, tuple(totals))
