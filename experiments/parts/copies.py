"""The stream of copies on which Aicher, Foti & Fox (2019) cut gradients short.

A delimiter and nine of four symbols are shown, then ten blanks; in the place of the
blanks all ten are to be named, in the place of what is shown the blank. The next ten
follow, without end. It is the data of aicherc/adaptive_tbptt, `copy_fixed`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLANK, DELIMITER, SYMBOLS = 0, 1, 6  # what is copied is 2 to 5
COPIED = 10


class Copies(NamedTuple):
  """`[T, B]` each: what is shown, and what is to be named."""

  x: NDArray[np.int32]
  y: NDArray[np.int32]


def copies(random: np.random.Generator, steps: int, batch: int) -> Copies:
  """B sequences of T steps, each begun at a step of its own.

  As published, all sequences made so far are moved on with each new one, and what comes
  in at their ends are the same few steps every time. A delimiter therefore comes now
  and then before an answer is finished; that answer is then no longer asked for.
  """
  period = 2 * COPIED
  rows = steps + 2 * period
  x, y = np.full((2, rows, batch), BLANK, np.int32)
  for lane in range(batch):
    for start in range(0, steps + period, period):
      shown = random.integers(DELIMITER + 1, SYMBOLS, size=COPIED)
      shown[0] = DELIMITER
      x[start : start + COPIED, lane] = shown
      y[start + COPIED : start + period, lane] = shown
    move = int(random.integers(period))
    for part in (x, y):
      part[:steps] = part[move : steps + move].copy()
  return Copies(x[:steps], y[:steps])
