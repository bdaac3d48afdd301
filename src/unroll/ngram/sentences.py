"""Where sentences begin in a sequence of tokens: at line ends, or nowhere.

- Running text is one sentence: the context reaches over line ends, as the state of a
  neural model does that carries on.
- Lines are a sentence each, as n-gram toolkits have them: the first token of a line has
  the start of a sentence for its context, and the line end is a token to predict.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Stream = NDArray[np.int32]


def running(tokens: ArrayLike, size: int) -> Stream:
  """Running text as one sentence: its start, `size`, before the tokens."""
  return np.insert(np.asarray(tokens, np.int32), 0, size)


def lines(tokens: ArrayLike, size: int, end: int) -> Stream:
  """Each line as a sentence: its start, `size`, before the first token of each.

  Args:
    tokens: `[N]`.
    size: V, which stands for the start of a sentence.
    end: the token that ends a line.
  """
  ids = np.asarray(tokens, np.int32)
  (ends,) = np.nonzero(ids[:-1] == end)
  return np.insert(ids, np.concatenate([[0], ends + 1]), size)
