"""Symbols to remember: copy, temporal order, delayed recall, parity."""

import math
from collections.abc import Callable

import numpy as np

from unroll.data.examples import Examples
from unroll.data.synthetic.marked import asked_at, longest
from unroll.data.synthetic.task import MemoryTask

COPIED = 10  # symbols of a copy
BLANK, DATA, DELIMITER = 0, 8, 9  # data are 1 to 8
DISTRACTORS = 10
BEGIN, END = DISTRACTORS, DISTRACTORS + 1  # of a recall; then x and y
# How an order's relevant symbols lie, in hundredths of T: from, to.
TWO, THREE = ((10, 20), (50, 60)), ((10, 20), (33, 43), (66, 76))


def _copy(random: np.random.Generator, length: int, batch: int) -> Examples:
  data = random.integers(1, DATA, size=(COPIED, batch), endpoint=True, dtype=np.int32)
  inputs = np.full((length + 2 * COPIED, batch), BLANK, np.int32)
  targets = inputs.copy()
  inputs[:COPIED], inputs[COPIED + length - 1], targets[-COPIED:] = (
    data,
    DELIMITER,
    data,
  )
  return Examples(inputs, targets, np.ones(inputs.shape, np.float32), None)


def _copy_loss(length: int) -> float:
  return COPIED * math.log(DATA) / (length + 2 * COPIED)


def _order(
  places: tuple[tuple[int, int], ...],
) -> Callable[[np.random.Generator, int, int], Examples]:
  """Draws a, b, c, d (0 to 3) between E and B (4, 5), and X or Y (6, 7) at places."""

  def draw(random: np.random.Generator, length: int, batch: int) -> Examples:
    steps, column = longest(length), np.arange(batch)
    size = random.integers(length, steps, size=batch, endpoint=True)
    inputs = random.integers(4, size=(steps, batch), dtype=np.int32)
    answer = np.zeros(batch, np.int32)
    for low, high in places:
      at = random.integers(
        low * length // 100, high * length // 100, size=batch, endpoint=True
      )
      which = random.integers(2, size=batch, dtype=np.int32)
      inputs[at, column] = 6 + which
      answer = 2 * answer + which
    inputs[0], inputs[size - 1, column] = 4, 5
    inputs[np.arange(steps)[:, None] >= size] = 0
    return asked_at(size - 1, answer, inputs)

  return draw


def _recall(random: np.random.Generator, length: int, batch: int) -> Examples:
  inputs = random.integers(DISTRACTORS, size=(length, batch), dtype=np.int32)
  answer = random.integers(2, size=batch, dtype=np.int32)
  inputs[0], inputs[1], inputs[-1] = BEGIN, END + 1 + answer, END
  return asked_at(np.full(batch, length - 1), answer, inputs)._replace(valid=None)


def _parity(random: np.random.Generator, length: int, batch: int) -> Examples:
  inputs = random.integers(2, size=(length, batch), dtype=np.int32)
  targets = np.cumsum(inputs, axis=0, dtype=np.int32) % 2
  return Examples(inputs, targets, np.ones(inputs.shape, np.float32), None)


# Ten symbols of eight, T - 1 blanks, a delimiter, ten blanks: the ten are asked for in
# the last ten steps, and blanks before (Arjovsky, Shah & Bengio 2016). T + 20 steps.
COPY = MemoryTask(
  _copy,
  DELIMITER + 1,
  DELIMITER,
  _copy_loss,
  "blanks, then one symbol in eight",
  least=1,
)

# Hochreiter & Schmidhuber (1997), experiments 6a and 6b: in which order X and Y came,
# long before the end. Theirs is T = 100; the places of X and Y grow with T.
TEMPORAL_ORDER = MemoryTask(
  _order(TWO), 8, 4, lambda length: math.log(4), "one class in four", least=20
)
TEMPORAL_ORDER_3 = MemoryTask(
  _order(THREE), 8, 8, lambda length: math.log(8), "one class in eight", least=20
)

# b, then x or y, T - 3 random distractors, e: which was it? Hochreiter & Schmidhuber
# (1997), experiment 2c, with a lag that is always the same.
RECALL = MemoryTask(
  _recall, END + 3, 2, lambda length: math.log(2), "one symbol in two", least=3
)

# After each of T random bits: is the number of ones odd?
PARITY = MemoryTask(
  _parity, 2, 2, lambda length: math.log(2), "odd or even alike", least=2
)
