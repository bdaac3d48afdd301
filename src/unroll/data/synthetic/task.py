"""A synthetic task, and its batches: a pure function of seed and step."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import ALL, Source
from unroll.data.examples import Examples
from unroll.types import BadInput

EVALUATION = 2**31 - 1  # the seed of evaluations, which no training can have


class MemoryTask(NamedTuple):
  """Sequences that are drawn, and what is asked at some of their steps.

  The trivial guess is the best of a predictor without memory; a loss near its own means
  that nothing was learned of the past.

  Attributes:
    draw: (generator, length, B) -> B sequences side by side.
    width: V symbols, read one-hot; without `symbols` D numbers a step.
    classes: C, of an answer; 0: an answer is one number.
    trivial: length -> the loss of the trivial guess: the mean cross-entropy in nats of
      an answer, or its mean squared error.
    guess: the trivial guess in words.
    least: the shortest length.
    symbols: whether sequences are of symbols.
  """

  draw: Callable[[np.random.Generator, int, int], Examples]
  width: int
  classes: int
  trivial: Callable[[int], float]
  guess: str
  least: int
  symbols: bool = True

  @property
  def example(self) -> NDArray:
    """An input of one step, `[1, 1]` or `[1, 1, D]`, to make parameters with."""
    if self.symbols:
      return np.zeros((1, 1), np.int32)
    return np.zeros((1, 1, self.width), np.float32)


class Sequences(Source[Examples]):
  """Batches of a task, each of new sequences.

  Args:
    task: what is drawn.
    length: as the task counts it.
    batch: B.
    seed: with the step it gives the batch, bit for bit.
    batches: in an epoch. The next epoch has other sequences.
    columns: the sequences that batches have; the others are those of other processes.

  Raises:
    BadInput: the length is too short for the task.
  """

  def __init__(
    self,
    task: MemoryTask,
    length: int,
    batch: int,
    *,
    seed: int,
    batches: int,
    columns: slice = ALL,
  ):
    if length < task.least:
      raise BadInput(f"length={length}: this task needs {task.least} or more")
    self.task, self.length, self.batch = task, length, batch
    self.seed, self.batches, self.columns = seed, batches, columns
    self.rows = len(range(batch)[columns])

  def __len__(self) -> int:
    return self.batches

  def epoch(self, step: int) -> int:
    return step // self.batches

  def __getitem__(self, step: int) -> Examples:
    if step < 0:
      raise IndexError(f"step must be 0 or more, not {step}")
    random = np.random.default_rng((self.seed, step))
    # All of them, as a sequence depends on those drawn before it.
    whole = self.task.draw(random, self.length, self.batch)
    return jax.tree.map(lambda leaf: leaf[:, self.columns], whole)

  def digest(self) -> str:
    """sha256 of the first batch: of the task and of the generator alike."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(self[0]):
      digest.update(repr((leaf.shape, leaf.dtype)).encode() + leaf.tobytes())
    return digest.hexdigest()

  def __repr__(self) -> str:
    return (
      f"Sequences({self.task.draw}, length={self.length}, batch={self.batch}, "
      f"seed={self.seed}, batches={self.batches}, columns={self.columns})"
    )
