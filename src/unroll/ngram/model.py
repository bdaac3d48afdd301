"""What every n-gram model gives."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Model(Protocol):
  """The probability of a token after those before it."""

  @property
  def order(self) -> int:
    """n, one more than the tokens of context that count."""

  def score(self, stream: NDArray[np.integer]) -> Floats:
    """The log-probability of each token after those before it, in nats: `[T]`.

    The first has no context; a start of a sentence, which is no token, has -inf.

    Args:
      stream: `[T]`, see `sentences`.
    """

  def next(self, context: Sequence[int]) -> Floats:
    """The log-probabilities of all V tokens after a context, in nats: `[V]`.

    Args:
      context: tokens, the last n - 1 of which count; starts of sentences, V, may be
        among them.
    """
