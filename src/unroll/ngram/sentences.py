"""Where sentences begin in a sequence of tokens: at line ends, or nowhere."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Stream = NDArray[np.int32]


class Sentences(NamedTuple):
  """How tokens become a stream, in which `size` stands for the start of a sentence.

  - Running text is one sentence. The context reaches over line ends, as the state of a
    neural model does that carries on; of a text to judge, the first token is context
    alone. Perplexities are those of the same targets as a recurrent model has.
  - Lines are a sentence each, as toolkits of n-grams have them. The first token of a
    line follows the start of a sentence; the line end is predicted like any other.

  Attributes:
    size: V, the tokens of the vocabulary.
    end: the token that ends a line; None for running text.
  """

  size: int
  end: int | None = None

  def to_count(self, tokens: ArrayLike) -> Stream:
    """The stream to count n-grams in, of tokens `[N]`."""
    return self._split(tokens, True)

  def to_score(self, tokens: ArrayLike) -> Stream:
    """The stream of a text to judge; what counts of it is `targets`."""
    return self._split(tokens, self.end is not None)

  def targets(self, stream: Stream) -> NDArray[np.bool_]:
    """Which places of `to_score` are predicted: tokens with something before them."""
    found = stream != self.size
    found[:1] = False
    return found

  def context(self, tokens: ArrayLike) -> Stream:
    """What stands before the token that comes after `tokens`."""
    ids = np.asarray(tokens, np.int32)
    if self.end is None:
      return ids
    # One token more, so that a sentence that has just ended is followed by another.
    return self._split(np.append(ids, self.end), True)[:-1]

  def _split(self, tokens: ArrayLike, start: bool) -> Stream:
    ids = np.asarray(tokens, np.int32)
    places = np.zeros(int(start), np.int64)
    if self.end is not None:
      places = np.append(places, np.flatnonzero(ids[:-1] == self.end) + 1)
    return np.insert(ids, places, self.size)
