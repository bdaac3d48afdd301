"""Batches for the device: several steps at a time, prepared while it computes."""

import sys
from collections.abc import Iterator, Sequence

import grain
import jax
import numpy as np

from unroll.data.batches import Batch, Source

AHEAD = 2  # dispatches prepared in advance


def dispatches(
  source: Source,
  start: int,
  stop: int | None,
  per_dispatch: int,
  periods: Sequence[int] = (),
) -> Iterator[tuple[int, Batch]]:
  """Stacks consecutive batches, so that one call of a compiled loop takes many steps.

  Args:
    source: the batches.
    start: the first step.
    stop: the step to stop before; None to go on without end.
    per_dispatch: steps in a dispatch.
    periods: no dispatch crosses a multiple of these: the steps at which something else
      happens (evaluation, checkpoint). A period of 0 is never.

  Returns:
    An iterator of (count, batch): arrays `[per_dispatch, T, B]` of which the first
    `count` are steps to take, the rest a repetition that keeps the shape the same. The
    first dispatch takes one step, so that a run soon shows that it works.
  """
  records = _Dispatches(source, start, stop, per_dispatch, periods)
  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
  for count, batch in grain.MapDataset.source(records).to_iter_dataset(options):
    if batch is None:
      return
    yield count, batch


class _Dispatches:
  """The dispatches by number: one record for grain is one whole dispatch."""

  def __init__(
    self,
    source: Source,
    start: int,
    stop: int | None,
    per_dispatch: int,
    periods: Sequence[int],
  ):
    self._source, self._start, self._stop = source, start, stop
    self._per_dispatch = per_dispatch
    self._periods = [period for period in periods if period]
    self._walk = self._spans()
    self._seen: list[tuple[int, int]] = []  # the spans walked so far

  def __len__(self) -> int:
    # At the most: to count those of two thousand million steps would take minutes.
    return sys.maxsize if self._stop is None else max(self._stop - self._start, 0)

  def __getitem__(self, number: int) -> tuple[int, Batch | None]:
    while len(self._seen) <= number:
      self._seen.append(next(self._walk, (0, 0)))
    step, count = self._seen[number]
    if not count:  # there is none, and none after it
      return 0, None
    batches = [self._source[step + i] for i in range(count)]
    batches += batches[-1:] * (self._per_dispatch - count)
    return count, jax.tree.map(lambda *leaves: np.stack(leaves), *batches)

  def __repr__(self) -> str:
    return (
      f"dispatches({self._source!r}, {self._start}, {self._stop}, "
      f"{self._per_dispatch}, {self._periods})"
    )

  def _spans(self) -> Iterator[tuple[int, int]]:
    """(first step, count) of each dispatch."""
    step = self._start
    while self._stop is None or step < self._stop:
      most = 1 if step == self._start else self._per_dispatch
      count = min([most, *(p - step % p for p in self._periods)])
      if self._stop is not None:
        count = min(count, self._stop - step)
      yield step, count
      step += count
