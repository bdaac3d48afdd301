"""How a sequence is cut into chunks: the half of a scheme that the data follow."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Chunks(NamedTuple):
  """The steps that a batch of training holds.

  Attributes:
    length: new steps in each chunk; None takes whatever sequence there is.
    overlap: steps before them that the gradient also reaches, already scored.
    lengths: `(generator, total) -> lengths` where each chunk's is drawn; the drawn
      lengths cover `total` steps and none exceeds `length`. None: all are `length`.
  """

  length: int | None = None
  overlap: int = 0
  lengths: Callable[[np.random.Generator, int], np.ndarray] | None = None
