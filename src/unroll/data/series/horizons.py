"""Windows of a series as batches: a past, and the horizon to forecast from it."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import ALL, Source
from unroll.data.series.gaps import Filled, filled
from unroll.data.series.value import Series
from unroll.types import BadInput


class Horizon(NamedTuple):
  """Windows side by side: T steps of the past, K steps to come.

  Attributes:
    past: float32 `[T, B, C + P]`, the C targets, then P inputs, as known at the end of
      the past.
    known: float32 `[T + K, B, F]`, what is known in advance, of past and future.
    future: float32 `[K, B, C]`, the targets to come; 0 where there is none.
    weight: float32 `[K, B, C]`, 0 where a target is missing or the window is padding.
    forced: float32 `[K, B, C]`, 1 where a model that feeds back reads the true value of
      this step for those to come, and not its own forecast.
  """

  past: NDArray[np.float32]
  known: NDArray[np.float32]
  future: NDArray[np.float32]
  weight: NDArray[np.float32]
  forced: NDArray[np.float32]


class Horizons(Source[Horizon]):
  """All windows whose targets lie in some rows; their pasts may reach back before.

  Shuffled, every epoch has another order. Shuffled or not, each window is there once an
  epoch, and the last batch is padded with windows of weight 0.

  Args:
    series: its values as a model reads them: scaled.
    part: the rows where targets may lie, one of the split's.
    batch: windows in a batch, B.
    window: T.
    horizon: K.
    known: `[N + K, F]` or longer, what is known in advance of each row, such as
      `calendar.features`; None: nothing.
    forced: marks every target there is as `Horizon.forced` (teacher forcing, Williams
      & Zipser 1989): for training alone.
    stride: rows from one window to the next.
    seed: of the order.
    shuffle: random order, or in order.
    columns: the windows that batches have; the others are those of other processes.

  Raises:
    BadInput: there is no window.
  """

  def __init__(
    self,
    series: Series,
    part: range,
    batch: int,
    window: int,
    horizon: int,
    *,
    known: NDArray[np.float32] | None = None,
    forced: bool = False,
    stride: int = 1,
    seed: int = 0,
    shuffle: bool = True,
    columns: slice = ALL,
  ):
    size = len(series.values)
    if min(batch, window, horizon, stride) < 1:
      raise BadInput(
        f"batch={batch}, window={window}, horizon={horizon} and stride={stride} must "
        "all be at least 1"
      )
    if not 0 <= part.start <= part.stop <= size or part.step != 1:
      raise ValueError(f"part={part}: these are not rows of a series of {size}")
    self.series, self.part, self.batch = series, part, batch
    self.window, self.horizon, self.stride, self.forced = (
      window,
      horizon,
      stride,
      forced,
    )
    self.seed, self.shuffle, self.columns = seed, shuffle, columns
    self.rows = len(range(batch)[columns])
    if known is None:
      known = np.zeros((size + horizon, 0), np.float32)
    if len(known) < size + horizon:
      raise ValueError(
        f"known has {len(known)} rows: a series of {size} with horizon={horizon} needs "
        f"{size + horizon}"
      )
    self.known = np.asarray(known, np.float32)
    self._first = max(part.start, window)
    self._windows = (part.stop - horizon - self._first) // stride + 1
    if self._windows < 1:
      raise BadInput(
        f"rows {part.start} to {part.stop} of {series.name} hold no window: window="
        f"{window} before its targets and horizon={horizon} in these rows; take less "
        "of either, or give more data"
      )
    self._filled = filled(series.values, series.gaps)
    self._order = functools.lru_cache(maxsize=2)(self._draw)

  @property
  def windows(self) -> int:
    """The windows of an epoch."""
    return self._windows

  def __len__(self) -> int:
    return -(-self._windows // self.batch)

  def epoch(self, step: int) -> int:
    if step < 0:
      raise IndexError(f"step must be 0 or more, not {step}")
    return step // len(self)

  def origins(self, step: int) -> NDArray[np.int64]:
    """The row of the first target of each window of a batch, `[B]`; -1 for padding."""
    epoch = self.epoch(step)
    start = (step - epoch * len(self)) * self.batch
    number = start + np.arange(self.batch)[self.columns]
    order = self._order(epoch)
    there = number < self._windows
    return np.where(there, order[np.minimum(number, self._windows - 1)], -1)

  def __getitem__(self, step: int) -> Horizon:
    return self.at(self.origins(step))

  def at(self, origins: NDArray[np.integer], past: int | None = None) -> Horizon:
    """The windows of some origins `[B]`, from T to N; -1 is padding.

    An origin of N is a forecast of times to come, none of them with a target.

    Args:
      origins: the row of the first step of each forecast.
      past: T, if not that of all batches.
    """
    length = self.window if past is None else past
    origins = np.asarray(origins)
    padding = origins < 0
    # A window that is there, with weight 0.
    start = np.where(padding, max(self._first, length), origins)
    found = cut(self.series, self._filled, self.known, start, length, self.horizon)
    weight = np.where(padding[:, None], 0, found.weight)
    forced = weight if self.forced else np.zeros_like(weight)
    return found._replace(weight=weight, forced=forced)

  def __repr__(self) -> str:
    known = hashlib.sha256(self.known.tobytes()).hexdigest()[:16]
    return (
      f"Horizons(series=sha256:{self.series.digest()[:16]}, part={self.part}, "
      f"batch={self.batch}, window={self.window}, horizon={self.horizon}, "
      f"known=sha256:{known}, forced={self.forced}, stride={self.stride}, "
      f"seed={self.seed}, shuffle={self.shuffle}, columns={self.columns})"
    )

  def _draw(self, epoch: int) -> NDArray[np.int64]:
    order = np.arange(self._windows) * self.stride + self._first
    if self.shuffle:
      np.random.default_rng((self.seed, epoch)).shuffle(order)
    return order


def cut(
  series: Series,
  whole: Filled,
  known: NDArray[np.float32],
  origins: NDArray[np.integer],
  past: int,
  horizon: int,
) -> Horizon:
  """The windows whose first targets are the rows `origins [B]`, from T to N.

  Args:
    series: the values, with their holes.
    whole: the same, filled.
    known: `[N + K, F]` or longer.
    origins: N is the row after the last: a forecast of times to come.
    past: T.
    horizon: K.
  """
  size = len(series.values)
  if origins.min() < past or origins.max() > size:
    raise ValueError(
      f"origins from {origins.min()} to {origins.max()}: a past of {past} rows and a "
      f"series of {size} allow {past} to {size}"
    )
  future = origins + np.arange(horizon)[:, None]  # [K, B]
  truth = series.values[np.minimum(future, size - 1), : series.targets]
  there = np.isfinite(truth) & (future < size)[..., None]
  around = origins - past + np.arange(past + horizon)[:, None]
  return Horizon(
    whole.before(origins, past).astype(np.float32),
    known[around],
    np.where(there, truth, 0).astype(np.float32),
    there.astype(np.float32),
    np.zeros(there.shape, np.float32),
  )
