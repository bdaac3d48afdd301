"""What people have of speech, sounds and texts, as models of it take them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.data.examples import Examples
from unroll.data.powers import Powers
from unroll.data.speech.reader import UNITS, Reader, batch
from unroll.types import BadInput

ROWS = 64  # sounds side by side


def batches(
  reader: Reader, sounds: Sequence[NDArray], labels: Sequence[NDArray[np.int32]]
) -> Powers[Examples]:
  """Sounds side by side with their labels, see `reader.batch`.

  Args:
    reader: of the run.
    sounds: samples at its rate, `[N_i]` each.
    labels: the classes of each.
  """
  steps = [reader.sequence(np.asarray(sound)) for sound in sounds]

  def made(rows: NDArray[np.int64], length: int) -> Examples:
    return batch(steps.__getitem__, labels, rows, length, reader.shape.features)

  return Powers([*map(len, steps)], made, ROWS)


def said(
  reader: Reader, sounds: Sequence[NDArray], texts: Sequence[str]
) -> list[NDArray[np.int32]]:
  """The classes of a text of each sound.

  Raises:
    BadInput: there are not as many of both, or training has not one of the labels.
  """
  if len(sounds) != len(texts):
    raise BadInput(f"there are {len(sounds)} sounds and {len(texts)} texts: pair them")
  return [
    reader.numbers(UNITS[reader.units].split(text), f"text {number}")
    for number, text in enumerate(texts, 1)
  ]
