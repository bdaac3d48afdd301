"""Batches for the device: several steps at a time, prepared while it computes."""

import functools
import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from unroll.data.batches import AnyBatch, Source

AHEAD = 2  # dispatches prepared in advance
MOST = 4 * 2**20  # bytes of a dispatch of `epoch`


def dispatches(
  source: Source[AnyBatch],
  start: int,
  stop: int | None,
  per_dispatch: int,
  periods: Sequence[int] = (),
  *,
  first: int = 1,
) -> Iterator[tuple[int, AnyBatch]]:
  """Stacks consecutive batches, so that one call of a compiled loop takes many steps.

  A dispatch ends where the next batch has arrays of other shapes.

  Args:
    source: the batches.
    start: the first step.
    stop: the step to stop before; None to go on without end.
    per_dispatch: steps in a dispatch.
    periods: no dispatch crosses a multiple of these: the steps at which something else
      happens (evaluation, checkpoint). A period of 0 is never.
    first: steps that the first dispatch takes at the most: one, so that a run soon
      shows that it works.

  Returns:
    An iterator of (count, batch): arrays `[per_dispatch, T, B, ...]` of which the first
    `count` are steps to take, the rest a repetition that keeps the shape the same.
  """
  records = _Dispatches(source, start, stop, per_dispatch, periods, first)
  if not len(records):
    return
  opening = records[0]
  if records.start(1) == stop:
    yield opening
    return
  # A fifth of a second, while the first dispatch is under way.
  threading.Thread(target=importlib.import_module, args=("grain",)).start()
  yield opening
  import grain

  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
  others = grain.MapDataset.source(records)[1:]
  for count, batch in others.to_iter_dataset(options):
    if batch is None:
      return
    yield count, batch


def epoch(source: Source[AnyBatch]) -> Iterator[tuple[int, AnyBatch]]:
  """The dispatches of one pass over the data, for `train.evaluated`.

  As many batches go into a dispatch as fit into 4 MiB, all of a small split into one.
  """
  total = len(source)
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(source[0]))
  per_dispatch = min(max(MOST // size, 1), total)
  return dispatches(source, 0, total, per_dispatch, first=per_dispatch)


class _Dispatches:
  """The dispatches by number: one record for grain is one whole dispatch."""

  def __init__(
    self,
    source: Source,
    start: int,
    stop: int | None,
    per_dispatch: int,
    periods: Sequence[int],
    first: int,
  ):
    self._source, self._start, self._stop = source, start, stop
    self._per_dispatch, self._first = per_dispatch, first
    self._periods = periods
    self._starts = [start]  # the first step of each dispatch, as far as known
    # The batch that ends a dispatch by its shape is the first of the next.
    self._batch = functools.lru_cache(maxsize=1)(source.__getitem__)

  def __len__(self) -> int:
    # At the most: to count those of two thousand million steps would take minutes.
    return sys.maxsize if self._stop is None else max(self._stop - self._start, 0)

  def start(self, number: int) -> int:
    """The first step of a dispatch."""
    while len(self._starts) <= number:
      self._batches(len(self._starts) - 1)
    return self._starts[number]

  def __getitem__(self, number: int) -> tuple[int, Any]:
    self.start(number)
    batches = self._batches(number)
    if not batches:  # there is none, and none after it
      return 0, None
    return len(batches), stacked(batches, self._per_dispatch)

  def __repr__(self) -> str:
    return (
      f"dispatches({self._source!r}, {self._start}, {self._stop}, "
      f"{self._per_dispatch}, {self._periods}, first={self._first})"
    )

  def _batches(self, number: int) -> list[Any]:
    """The batches of a dispatch; then it is known where the next one starts."""
    step = self._starts[number]
    most = self._most(step)
    batches = [self._batch(step)] if most else []
    while len(batches) < most:
      batch = self._batch(step + len(batches))
      if _shapes(batch) != _shapes(batches[0]):
        break
      batches.append(batch)
    self._starts[number + 1 :] = [step + len(batches)]
    return batches

  def _most(self, step: int) -> int:
    """The most steps that a dispatch from `step` on may take."""
    most = self._first if step == self._start else self._per_dispatch
    return min(most, room(step, self._stop, self._periods))


def stacked(batches: list[AnyBatch], size: int) -> AnyBatch:
  """Batches on a leading axis, the last one repeated until they are `size`."""
  filled = [*batches, *batches[-1:] * (size - len(batches))]
  return jax.tree.map(lambda *leaves: np.stack(leaves), *filled)


def room(step: int, stop: int | None, periods: Sequence[int]) -> int:
  """The steps from one to the next multiple of a period, or to the last; 0 behind it.

  Args:
    step: from which.
    stop: the step to stop before; None: there is none.
    periods: of which a 0 has no multiples.
  """
  ends = [period - step % period for period in periods if period]
  left = [sys.maxsize if stop is None else stop - step]
  return max(min([*ends, *left]), 0)


def _shapes(batch: Any) -> list[tuple[int, ...]]:
  return [leaf.shape for leaf in jax.tree.leaves(batch)]
