"""Batches of sequences of like length, each of about the same number of steps."""

import copy
import functools
import hashlib
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.data.batches import ALL, AnyBatch, Source
from unroll.types import BadInput

Other = TypeVar("Other")
# A batch has a multiple of the greatest common divisor of this and the usual one: any
# number of devices up to 8 that divides the usual batch divides every batch.
DEVICES = 840


class Buckets(Source[AnyBatch]):
  """Batches of sequences of like length, with as many sequences as they are short.

  The lengths fall into a few buckets, chosen to pad least, and a batch is padded to the
  longest of its bucket: so a program is compiled for each bucket, and no more. Batches
  have about `batch` times the mean length in steps, so a batch of long sequences is no
  larger than one of short ones.

  In an epoch each sequence is there once. Shuffled, every epoch draws which sequences
  of a bucket meet, and the order of the batches; otherwise both are by length. The
  seed draws the former and not the latter, so that the batches of all seeds have the
  same shapes in turn. What does not fill a batch goes into the next longer bucket: one
  batch of an epoch alone has columns of padding.

  Args:
    lengths: the steps of each sequence, `[N]`; 0 counts as 1.
    make: (sequences `[B]`, T) -> the batch of these, padded to T; -1 is padding.
    batch: sequences in a batch of mean length.
    buckets: how many there are at the most.
    seed: of the order.
    shuffle: random order, or by length.
    columns: which of `batch` columns batches have, in proportion; the others are those
      of other processes.
    digest: of what `make` reads.

  Raises:
    BadInput: there is no sequence.
  """

  def __init__(
    self,
    lengths: ArrayLike,
    make: Callable[[NDArray[np.int64], int], AnyBatch],
    batch: int,
    *,
    buckets: int = 8,
    seed: int = 0,
    shuffle: bool = True,
    columns: slice = ALL,
    digest: str = "",
  ):
    self.lengths = np.maximum(np.asarray(lengths, np.int64), 1)
    if not self.lengths.size:
      raise BadInput("there is no sequence to make batches of: give at least one")
    if min(batch, buckets) < 1:
      raise BadInput(f"batch={batch} and buckets={buckets} must be at least 1")
    self.make, self.batch, self.seed, self.shuffle = make, batch, seed, shuffle
    self.columns, self.digest = columns, digest
    self.rows = len(range(batch)[columns])
    self.bounds = bounds(self.lengths, buckets)
    self.widths = self._widths()
    self._members = [
      np.flatnonzero(bucket == np.searchsorted(self.bounds, self.lengths))
      for bucket in range(len(self.bounds))
    ]
    counts = self._counts()
    self._bucket = np.repeat(np.arange(len(counts)), counts)  # of each batch, by length
    self._place = np.concatenate([np.arange(count) for count in counts])
    self._order = functools.lru_cache(maxsize=2)(self._draw)

  @property
  def padding(self) -> float:
    """The share of padding in the steps of an epoch."""
    steps = sum(self.bounds[b] * self.widths[b] for b in self._bucket.tolist())
    return 1 - float(self.lengths.sum()) / steps

  def __len__(self) -> int:
    return len(self._bucket)

  def epoch(self, step: int) -> int:
    if step < 0:
      raise IndexError(f"step must be 0 or more, not {step}")
    return step // len(self)

  def chosen(self, step: int) -> NDArray[np.int64]:
    """The sequences of a batch, `[B]`, those of all processes; -1 is padding."""
    bucket, place, members = self._at(step)
    width = self.widths[bucket]
    found = members[bucket][place * width : (place + 1) * width]
    return np.pad(found, (0, width - len(found)), constant_values=-1)

  def __getitem__(self, step: int) -> AnyBatch:
    rows = self.chosen(step)[self.part(step)]
    return self.make(rows, self.bounds[self._at(step)[0]])

  def mapped(self, change: Callable[[AnyBatch], Other]) -> "Buckets[Other]":
    """The same batches in the same order, each changed."""
    other, make = cast(Buckets[Any], copy.copy(self)), self.make
    other.make = lambda rows, steps: change(make(rows, steps))
    return other

  def part(self, step: int) -> slice:
    """Which of the columns of a batch are those of this process."""
    width = self.widths[self._at(step)[0]]
    start, stop, _ = self.columns.indices(self.batch)
    return slice(start * width // self.batch, stop * width // self.batch)

  def __repr__(self) -> str:
    lengths = hashlib.sha256(self.lengths.tobytes()).hexdigest()[:16]
    return (
      f"Buckets(lengths=sha256:{lengths}, batch={self.batch}, bounds={self.bounds}, "
      f"widths={self.widths}, seed={self.seed}, shuffle={self.shuffle}, "
      f"columns={self.columns}, digest={self.digest})"
    )

  def _widths(self) -> list[int]:
    """The sequences of a batch of each bucket."""
    unit = math.gcd(self.batch, DEVICES)
    steps = self.batch * float(self.lengths.mean())
    return [max(round(steps / bound / unit), 1) * unit for bound in self.bounds]

  def _counts(self) -> list[int]:
    """The batches of each bucket: full ones, and of the longest one that is not."""
    counts, left = [], 0
    for members, width in zip(self._members, self.widths):
      count, left = divmod(left + len(members), width)
      counts.append(count)
    counts[-1] += left > 0
    return counts

  def _at(self, step: int) -> tuple[int, int, list[NDArray[np.int64]]]:
    """The bucket of a batch, its place there, and the sequences of all buckets."""
    epoch = self.epoch(step)
    order, members = self._order(epoch)
    number = order[step - epoch * len(self)]
    return int(self._bucket[number]), int(self._place[number]), members

  def _draw(self, epoch: int) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    order = np.arange(len(self))
    if not self.shuffle:
      longest_last = [m[np.argsort(self.lengths[m])] for m in self._members]
      return order, self._filled(longest_last)
    draw = np.random.default_rng((self.seed, epoch))
    members = self._filled([draw.permutation(found) for found in self._members])
    # Of buckets the same for every seed: arms side by side have arrays of one shape.
    return np.random.default_rng(epoch).permutation(order), members

  def _filled(self, members: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """The sequences of each bucket; what fills no batch goes to the next longer one."""
    filled, left = [], members[0][:0]
    for own, width in zip(members, self.widths):
      some = np.concatenate([left, own])
      whole = len(some) // width * width
      filled.append(some[:whole])
      left = some[whole:]
    filled[-1] = np.concatenate([filled[-1], left])
    return filled


def bounds(lengths: NDArray[np.integer], most: int) -> list[int]:
  """The longest length of each bucket: those that pad least, up to `most` of them.

  Exact for up to 256 different lengths, by dynamic programming; more are first rounded
  up to 256 of them, by quantiles.

  Args:
    lengths: `[N]`, at least 1 each.
    most: buckets.
  """
  values, counts = np.unique(lengths, return_counts=True)
  if len(values) > 256:
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, 257)[1:], method="higher"))
    place = np.searchsorted(edges, values)
    counts = np.bincount(place, counts, len(edges)).astype(np.int64)
    values = edges
  size = len(values)
  before = np.concatenate([[0], np.cumsum(counts)])
  # What the steps are of sequences i to j - 1 padded to the length j - 1: [i, j].
  cost = np.full((size + 1, size + 1), np.inf)
  for j in range(1, size + 1):
    cost[:j, j] = (before[j] - before[:j]) * values[j - 1]
  least, cut = np.full(size + 1, np.inf), []
  least[0] = 0
  for _ in range(min(most, size)):
    through = least[:, None] + cost
    cut.append(through.argmin(0))
    least = through.min(0)
  found, j = [], size
  for choice in reversed(cut):
    found.append(int(values[j - 1]))
    j = int(choice[j])
  return found[::-1]
