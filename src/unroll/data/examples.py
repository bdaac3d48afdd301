"""Examples: sequences with a label each, or one a step, padded side by side."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Examples(NamedTuple):
  """Examples side by side, padded to T steps.

  Attributes:
    inputs: `[T, B]` tokens or `[T, B, D]` features, or a pytree of such; 0 at padding.
    targets: `[1, B]`, a label for each sequence, or `[T, B]`, one for each step: int32
      classes, or float32 numbers.
    weight: float32, like targets, 0 where a target must not count.
    valid: bool `[T, B]`, False at padding; None where there is none.
  """

  inputs: Any
  targets: NDArray[Any]
  weight: NDArray[np.float32]
  valid: NDArray[np.bool_] | None


def padded(sequences: Sequence[NDArray], rows: NDArray[np.integer], steps: int):
  """Some of the sequences side by side, and where they are valid.

  Args:
    sequences: arrays `[T_i, …]` of one type, which differ in length alone.
    rows: which of them, `[B]`; -1 is a column of padding.
    steps: T, at least the length of each.

  Returns:
    `[T, B, …]`, 0 at padding, and bool `[T, B]`.
  """
  some = sequences[0]
  out = np.zeros((steps, len(rows), *some.shape[1:]), some.dtype)
  valid = np.zeros((steps, len(rows)), bool)
  for column, row in enumerate(rows):
    if row >= 0:
      size = len(sequences[row])
      out[:size, column] = sequences[row]
      valid[:size, column] = True
  return out, valid


def labelled(
  sequences: Sequence[NDArray],
  labels: NDArray[np.integer],
  rows: NDArray[np.integer],
  steps: int,
) -> Examples:
  """Some sequences, each with its label: see `padded`.

  Args:
    sequences: arrays `[T_i, …]`.
    labels: of each sequence, `[N]`; -1 is a label that is unknown, of weight 0.
    rows: which of them, `[B]`; -1 is padding.
    steps: T.
  """
  inputs, valid = padded(sequences, rows, steps)
  chosen = np.where(rows >= 0, labels[rows], -1).astype(np.int32)[None]
  weight = (chosen >= 0).astype(np.float32)
  return Examples(inputs, np.maximum(chosen, 0), weight, valid)
