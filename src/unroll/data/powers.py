"""Batches of what is asked of a model at any time: few shapes, so few programs."""

from collections.abc import Callable, Iterator
from typing import Generic

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.data.batches import AnyBatch


class Powers(Generic[AnyBatch]):
  """Sequences of like length side by side, padded to powers of two both ways.

  Whatever is asked for, programs are compiled for the logarithm of lengths and counts
  alone. `buckets.Buckets` pads less, of sequences that are known beforehand.

  Args:
    lengths: the steps of each sequence, `[N]`; 0 counts as 1.
    make: (sequences `[B]`, T) -> the batch of these, padded to T; -1 is padding.
    most: B at the most, a power of two.
  """

  def __init__(
    self,
    lengths: ArrayLike,
    make: Callable[[NDArray[np.int64], int], AnyBatch],
    most: int = 64,
  ):
    self.lengths = np.maximum(np.asarray(lengths, np.int64), 1)
    self.make = make
    self._steps, self._rows = list[int](), list[NDArray[np.int64]]()
    padded = np.array([power(length) for length in self.lengths.tolist()], np.int64)
    for steps in np.unique(padded).tolist():
      members = np.flatnonzero(padded == steps)
      for start in range(0, len(members), most):
        rows = members[start : start + most]
        width = power(len(rows)) - len(rows)
        self._rows.append(np.pad(rows, (0, width), constant_values=-1))
        self._steps.append(steps)

  def __len__(self) -> int:
    """The batches."""
    return len(self._rows)

  def chosen(self, number: int) -> NDArray[np.int64]:
    """The sequences of a batch, `[B]`; -1 is padding."""
    return self._rows[number]

  def __getitem__(self, number: int) -> AnyBatch:
    return self.make(self._rows[number], self._steps[number])

  def __iter__(self) -> Iterator[AnyBatch]:
    return (self[number] for number in range(len(self)))


def power(number: int) -> int:
  """The least power of two that is no less than a positive number."""
  return 1 << (number - 1).bit_length()
