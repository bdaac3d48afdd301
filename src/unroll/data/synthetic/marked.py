"""Numbers of which two are marked: adding and multiplication."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unroll.data.examples import Examples
from unroll.data.synthetic.task import MemoryTask

FIRST = 10  # pairs among which the first mark is, in the tasks of 1997


def longest(length: int) -> int:
  """The most steps of a sequence whose length varies: T + T/10."""
  return length + length // 10


def _adding(random: np.random.Generator, length: int, batch: int) -> Examples:
  column = np.arange(batch)
  inputs = np.zeros((length, batch, 2), np.float32)
  inputs[..., 0] = random.random((length, batch), np.float32)
  marked = _two(random, length, length, batch)
  inputs[marked, column, 1] = 1
  answer = inputs[marked, column, 0].sum(axis=0)
  return asked_at(np.full(batch, length - 1), answer, inputs)._replace(valid=None)


def _of_1997(
  low: float, hidden: float, answer: Callable[[NDArray, NDArray], NDArray]
) -> Callable[[np.random.Generator, int, int], Examples]:
  """Draws pairs with values on [low, 1] and marks 1, and -1 on the first and last pair.

  Args:
    low: of values.
    hidden: the value of the first pair where a mark falls on it.
    answer: of both marked values.
  """

  def draw(random: np.random.Generator, length: int, batch: int) -> Examples:
    column, steps = np.arange(batch), longest(length)
    size = random.integers(length, steps, size=batch, endpoint=True)
    inputs = np.zeros((steps, batch, 2), np.float32)
    inputs[..., 0] = low + (1 - low) * random.random((steps, batch), np.float32)
    marked = _two(random, FIRST, length // 2, batch)
    inputs[marked, column, 1] = 1
    inputs[0, (marked == 0).any(axis=0), 0] = hidden
    inputs[0, :, 1] = inputs[size - 1, column, 1] = -1
    inputs[np.arange(steps)[:, None] >= size] = 0
    return asked_at(size - 1, answer(*inputs[marked, column, 0]), inputs)

  return draw


def _two(random: np.random.Generator, first: int, second: int, batch: int) -> NDArray:
  """Two steps that differ, `[2, B]`: one of the first `first`, and any of the `second`
  first that is left."""
  one = random.integers(first, size=batch)
  other = random.integers(second - 1, size=batch)
  return np.stack([one, other + (other >= one)])


def asked_at(step: NDArray[np.integer], answer: NDArray, inputs: NDArray) -> Examples:
  """Sequences that end at a step and are asked for an answer there.

  Args:
    step: `[B]`.
    answer: `[B]`, int32 or float32.
    inputs: `[T, B, …]`.
  """
  column, shape = np.arange(len(step)), inputs.shape[:2]
  targets, weight = np.zeros(shape, answer.dtype), np.zeros(shape, np.float32)
  targets[step, column], weight[step, column] = answer, 1
  return Examples(inputs, targets, weight, np.arange(shape[0])[:, None] <= step)


def _hidden(length: int) -> float:
  """How often a mark of 1997 falls on the first pair."""
  return 1 / FIRST + (1 - 1 / FIRST) / (length // 2 - 1)


def _sum_variance(length: int) -> float:
  return (2 - _hidden(length)) / 3 / 16


def _product_variance(length: int) -> float:
  hidden = _hidden(length)
  mean = (1 - hidden) / 4 + hidden / 2
  return (1 - hidden) / 9 + hidden / 3 - mean**2


# The sum of two numbers of T, uniform on [0, 1] and marked by 1 at any two steps: as in
# the data of Bai, Kolter & Koltun (2018). Le, Jaitly & Hinton (2015) have the same sum.
ADDING = MemoryTask(
  _adding, 2, 0, lambda length: 1 / 6, "always the mean, 1", least=2, symbols=False
)

# Hochreiter & Schmidhuber (1997), experiments 4 and 5. T to T + T/10 pairs; one of the
# first ten is marked, and one of the first T/2 - 1 of the others. The first and last
# pair are marked -1. Where a mark falls on the first pair, its value is 0 in a sum, and
# 1 in a product.
ADDING_1997 = MemoryTask(
  _of_1997(-1, 0, lambda one, other: np.float32(0.5) + (one + other) / np.float32(4)),
  2,
  0,
  _sum_variance,
  "always the mean, 0.5",
  least=2 * FIRST,
  symbols=False,
)
MULTIPLICATION = MemoryTask(
  _of_1997(0, 1, lambda one, other: one * other),
  2,
  0,
  _product_variance,
  "always the mean",
  least=2 * FIRST,
  symbols=False,
)
