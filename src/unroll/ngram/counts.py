"""How often each n-gram of a stream occurs, of all orders up to n, by one sort.

The n tokens from each place of the stream on become one number. Sorted, the numbers
that share their first k tokens lie side by side for every k: each run is a k-gram, and
its length is the count. 100 million tokens take 8 bytes each and no Python loop.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.ngram.trie import Ids, Trie

BITS = 63  # of a number that orders like its tokens


class Counts(NamedTuple):
  """The n-grams of a stream, and how often each occurs.

  Attributes:
    trie: which there are.
    counts: of orders 1 to n, in the order of the trie's numbers; of order 1 those of
      all V tokens, and last how many sentences there are.
  """

  trie: Trie
  counts: tuple[Ids, ...]


def count(stream: NDArray[np.integer], order: int, size: int) -> Counts:
  """Counts the n-grams of a stream, none of which reaches over the start of a sentence.

  Args:
    stream: `[T]`, tokens below `size`, and `size` where a sentence begins; see
      `sentences`.
    order: n, the tokens of the longest n-grams, at least 1.
    size: V, the tokens of the vocabulary.
  """
  width = size.bit_length()  # of a token
  padded = np.append(stream, np.full(order - 1, size, stream.dtype))
  packed, lead = np.zeros(stream.size, np.int64), 0
  levels = _Levels(size)
  while levels.order < order:
    first = levels.order
    taken = min(order - first, (BITS - lead) // width)
    for offset in range(first, first + taken):
      packed <<= width
      packed |= padded[offset : offset + stream.size]
    if first + taken == order:
      packed.sort()
      starts = _starts(packed)
      found, times = packed[starts], np.diff(starts, append=packed.size)
      del packed, starts
    else:  # too wide for a number: what was packed goes on as its rank
      found, times = _rank(packed)
      lead = found.size.bit_length()
    for short in reversed(range(taken)):
      levels.add(found >> width * short, times)
  return Counts(Trie(size, tuple(levels.keys)), tuple(levels.counts))


class _Levels:
  """The orders so far, from the shortest n-grams on."""

  def __init__(self, size: int):
    self.keys: list[Ids] = []
    self.counts: list[Ids] = []
    self._size, self._width = size, size.bit_length()
    # Of each run of the last order its number in the trie; -1 for no n-gram.
    self._numbers: Ids = np.empty(0, np.int64)

  @property
  def order(self) -> int:
    return len(self.counts)

  def add(self, runs: Ids, times: Ids) -> None:
    """The next order, from the sorted prefixes of that length: the run before, token.

    Args:
      runs: prefixes, sorted, each as often as it has continuations.
      times: how often each continuation occurs.
    """
    starts = _starts(runs)
    runs, times = runs[starts], np.add.reduceat(times, starts)
    del starts
    tokens = runs & ((1 << self._width) - 1)
    if not self.order:
      self.counts.append(np.zeros(self._size + 1, np.int64))
      self.counts[0][tokens] = times
      self._numbers = tokens
      return
    runs >>= self._width
    contexts = self._numbers[_numbered(runs)]
    there = (contexts >= 0) & (tokens != self._size)
    self.keys.append(contexts[there] * (self._size + 1) + tokens[there])
    self.counts.append(times[there])
    self._numbers = np.where(there, np.cumsum(there) - 1, -1)


def _rank(packed: Ids) -> tuple[Ids, Ids]:
  """Replaces values in place by their ranks among the different ones.

  Returns:
    The different values, sorted, and how often each occurs.
  """
  order = packed.argsort()
  values = packed[order]
  packed[order] = _numbered(values)
  del order
  starts = _starts(values)
  return values[starts], np.diff(starts, append=values.size)


def _starts(values: Ids) -> Ids:
  """Where the runs of equal values start in a sorted array that is not empty."""
  return np.append(0, np.flatnonzero(values[1:] != values[:-1]) + 1)


def _numbered(values: Ids) -> Ids:
  """The number of its run for each value of a sorted array."""
  numbers = np.zeros(values.size, np.int64)
  np.cumsum(values[1:] != values[:-1], out=numbers[1:])
  return numbers
