"""The holes of a series: how they are filled, without a look at times to come."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.types import BadInput

GAPS = ("refuse", "forward", "linear")


class Filled(NamedTuple):
  """A series without holes, of which a past shows only what was known at its end.

  Attributes:
    values: `[N, C]`, holes filled.
    forward: `[N, C]`, each hole filled with the last value before it.
    known: `[N, C]`, the row by which a value is known: its own, or for one between
      two values that of the second.
  """

  values: NDArray
  forward: NDArray
  known: NDArray[np.int64]

  def before(self, origin: NDArray, length: int) -> NDArray:
    """The `length` rows before each origin `[B]`, as known then: `[length, B, C]`.

    A hole at the end of a past has the last value before it, whatever fills it later.
    """
    rows = origin - length + np.arange(length)[:, None]
    known = self.known[rows] < origin[:, None]
    return np.where(known, self.values[rows], self.forward[rows])


def filled(values: NDArray, how: str) -> Filled:
  """Fills the holes (NaN) of `values [N, C]`, whose first row has none.

  Args:
    values: the values.
    how: "forward" repeats the last value; "linear" draws a line to the next one, or
      repeats the last where none follows; "refuse" takes no hole.

  Raises:
    BadInput: for another `how`.
    ValueError: the first row has a hole, or there is one to refuse.
  """
  if how not in GAPS:
    raise BadInput(f"gaps={how}: choose one of {', '.join(GAPS)}")
  there = np.isfinite(values)
  if not there[:1].all() or (how == "refuse" and not there.all()):
    raise ValueError("values are missing where none may be: see `table.series`")
  rows = np.arange(len(values))[:, None]
  last = np.maximum.accumulate(np.where(there, rows, 0), axis=0)
  forward = np.take_along_axis(values, last, axis=0)
  if how != "linear":
    return Filled(forward, forward, last)
  after = np.where(there, rows, len(values))
  after = np.minimum.accumulate(after[::-1], axis=0)[::-1]
  open_end = after == len(values)
  after = np.where(open_end, last, after)
  span = np.maximum(after - last, 1)
  rise = np.take_along_axis(values, after, axis=0) - forward
  return Filled(forward + rise * (rows - last) / span, forward, after)
