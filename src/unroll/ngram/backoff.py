"""A model that backs off: the probability of the longest n-gram there is.

Interpolated models are of this form too, once the probability of each n-gram includes
its share of the shorter ones: so are all models in ARPA files.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.ngram.model import Floats
from unroll.ngram.trie import Trie, at


class Backoff(NamedTuple):
  """log p(w | h) is that of the n-gram h w, if it is there; else that of w after the
  context without its first token, plus the weight of h, if that is there.

  Attributes:
    trie: the n-grams.
    log_probs: of orders 1 to n, in nats; that of the start of a sentence is -inf.
    weights: of the contexts, orders 1 to n - 1, in nats.
  """

  trie: Trie
  log_probs: tuple[Floats, ...]
  weights: tuple[Floats, ...]

  @property
  def order(self) -> int:
    """n, one more than the tokens of context that count."""
    return self.trie.order

  def score(self, stream: NDArray[np.integer]) -> Floats:
    """The log-probability of each token of a stream; see `Model`."""
    found = np.empty(0)
    before = np.empty(0, np.int64)
    for order, ending in enumerate(self.trie.walk(stream), 1):
      if order == 1:
        found = self.log_probs[0][ending]
      else:
        weight = at(self.weights[order - 2], before, 0)
        longer = found + np.concatenate([[0], weight[:-1]])
        there = at(self.log_probs[order - 1], ending, 0)
        found = np.where(ending < 0, longer, there)
      before = ending
    return found

  def next(self, context: Sequence[int]) -> Floats:
    """The log-probabilities of all tokens after a context; see `Model`."""
    found = self.log_probs[0][:-1].copy()
    for order, number in enumerate(self.trie.longest(context), 2):
      if number >= 0:
        found += self.weights[order - 2][number]
        there = self.trie.following(order, number)
        tokens = self.trie.keys[order - 2][there] % self.trie.radix
        found[tokens] = self.log_probs[order - 1][there]
    return found
