"""Windows of a series as batches: a past, and the horizon to forecast from it."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import ALL, Source
from unroll.data.series.gaps import filled
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
    past: T.
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
    past: int,
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
    if min(batch, past, horizon, stride) < 1:
      raise BadInput(
        f"batch={batch}, past={past}, horizon={horizon} and stride={stride} must all "
        "be at least 1"
      )
    if not 0 <= part.start <= part.stop <= size or part.step != 1:
      raise ValueError(f"part={part}: these are not rows of a series of {size}")
    self.series, self.part, self.batch = series, part, batch
    self.past, self.horizon, self.stride, self.forced = past, horizon, stride, forced
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
    self._first = max(part.start, past)
    self._windows = (part.stop - horizon - self._first) // stride + 1
    if self._windows < 1:
      raise BadInput(
        f"rows {part.start} to {part.stop} of {series.name} hold no window: past="
        f"{past} before its targets and horizon={horizon} in these rows; take less of "
        "either, or give more data"
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
    past = self.past if past is None else past
    origins = np.asarray(origins)
    padding = origins < 0
    start = np.where(padding, self._first, origins)
    size = len(self.series.values)
    if start.min() < past or start.max() > size:
      raise ValueError(
        f"origins from {start.min()} to {start.max()}: a past of {past} rows and "
        f"a series of {size} allow {past} to {size}"
      )
    future = start + np.arange(self.horizon)[:, None]  # [K, B]
    values = self.series.values[:, : self.series.targets]
    truth = values[np.minimum(future, size - 1)]
    there = np.isfinite(truth) & ((future < size) & ~padding)[..., None]
    around = start - past + np.arange(past + self.horizon)[:, None]
    weight = there.astype(np.float32)
    return Horizon(
      self._filled.before(start, past).astype(np.float32),
      self.known[around],
      np.where(there, truth, 0).astype(np.float32),
      weight,
      weight if self.forced else np.zeros_like(weight),
    )

  def __repr__(self) -> str:
    known = hashlib.sha256(self.known.tobytes()).hexdigest()[:16]
    return (
      f"Horizons(series=sha256:{self.series.digest()[:16]}, part={self.part}, "
      f"batch={self.batch}, past={self.past}, horizon={self.horizon}, "
      f"known=sha256:{known}, forced={self.forced}, stride={self.stride}, "
      f"seed={self.seed}, shuffle={self.shuffle}, columns={self.columns})"
    )

  def _draw(self, epoch: int) -> NDArray[np.int64]:
    order = np.arange(self._windows) * self.stride + self._first
    if self.shuffle:
      np.random.default_rng((self.seed, epoch)).shuffle(order)
    return order
