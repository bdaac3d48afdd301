"""A real-valued series as settings choose it: read, split, scaled, cut into windows."""

import dataclasses
import functools
import hashlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import ALL
from unroll.data.series import Series as Values
from unroll.data.series import calendar as calendars
from unroll.data.series import named, parts, regular
from unroll.data.series.gaps import GAPS
from unroll.data.series.horizons import Horizons
from unroll.data.series.scaler import Scaler
from unroll.settings import setting
from unroll.types import BadInput

SPLIT = "0.7,0.1,0.2"
SCALES = ("standard", "none")


@dataclasses.dataclass(frozen=True)
class Series:
  """Series"""

  series: str = setting(
    "ett", f"a series by its name: {', '.join([named.SINE, *named.SERIES])}"
  )
  csv: str = setting(
    "", "a CSV file to read instead of series", kind="path", role="data"
  )
  target: tuple[str, ...] = setting((), "columns to forecast")
  inputs: tuple[str, ...] = setting((), "columns that forecasts look back on")
  time: str = setting("", "the column of times of --csv; empty: one row a step")
  time_format: str = setting(
    "", "how times are written, such as %d/%m/%Y; empty: ISO dates, months, numbers"
  )
  gaps: str = setting(
    "",
    "how missing values are filled; empty: as is known of the series",
    choices=("", *GAPS),
  )
  split: str = setting(
    "",
    "train,val[,test] as fractions or rows, or at:TIME[,TIME] where val and test "
    f"begin; empty: as published, or {SPLIT}",
  )
  scale: str = setting(
    "standard", "centre and scale columns by the training part", choices=SCALES
  )
  calendar: bool = setting(False, "the cycles of day, week and year are known ahead")
  lag: int = setting(
    0, "the season in rows; 0: as is known of the series, or 1", least=0
  )
  window: int = setting(96, "rows of the past that a forecast looks at", least=1)
  horizon: int = setting(24, "rows to forecast", least=1)
  stride: int = setting(1, "rows between windows of training", least=1)


@dataclasses.dataclass(frozen=True)
class Data:
  """What there is to learn from.

  Attributes:
    settings: what chose it.
    series: in its own units.
    scaled: as a model sees it.
    scaler: from one to the other.
    parts: the rows of "train", "val" and, where there is one, "test".
    lag: the season in rows.
    known: `[N + K, F]`, what is known in advance; None: nothing.
  """

  settings: Series
  series: Values
  scaled: Values
  scaler: Scaler
  parts: dict[str, range]
  lag: int
  known: NDArray[np.float32] | None

  def training(
    self, batch: int, seed: int, *, forced: bool = False, columns: slice = ALL
  ) -> Horizons:
    """Windows of the training part in random order; see `Horizons`."""
    chosen = {"stride": self.settings.stride, "forced": forced, "seed": seed}
    return self._windows("train", batch, columns=columns, **chosen)

  def evaluation(self, part: str, batch: int) -> Horizons:
    """Every window of a part, in order.

    Raises:
      BadInput: the split has no such part.
    """
    if part not in self.parts:
      raise BadInput(
        f"split={self.settings.split or SPLIT}: it has no {part} part, only "
        f"{', '.join(self.parts)}"
      )
    return self._windows(part, batch, shuffle=False)

  @functools.cached_property
  def sha256(self) -> str:
    """The digest of all that a model learns from."""
    said = f"{self.scaled.digest()} {self.parts}"
    return hashlib.sha256(said.encode()).hexdigest()

  def _windows(self, part: str, batch: int, **options: Any) -> Horizons:
    own = self.settings
    return Horizons(
      self.scaled,
      self.parts[part],
      batch,
      own.window,
      own.horizon,
      known=self.known,
      **options,
    )


def load(
  series: Series,
  *,
  seed: int = 0,
  scaler: Scaler | None = None,
  cut: bool = True,
  warn: Callable[[str], object] = warnings.warn,
) -> Data:
  """Reads a series, splits and scales it.

  Args:
    series: the settings.
    seed: of the noise of `series=sine`.
    scaler: of a model that was trained before; None: one of the training part, or of
      all rows if there are no parts.
    cut: whether it is split; a series that is only forecast from may be short.
    warn: called with a sentence about rows out of order and constant columns.

  Raises:
    BadInput: the settings do not fit one another, or the table is faulty.
  """
  values = _read(series, seed, warn)
  entry = None if series.csv else named.SERIES.get(series.series)
  split = series.split or (entry.split if entry else SPLIT)
  found = parts.split(values, split) if cut else {}
  columns = len(values.columns)
  if scaler is None:
    scaler = Scaler(np.zeros(columns), np.ones(columns))
    if series.scale == "standard":
      scaler = Scaler.fit(values, found.get("train", range(len(values.values))), warn)
  elif len(scaler.mean) != columns:
    raise BadInput(
      f"`target` and `inputs` name {columns} columns, and the scaler is of "
      f"{len(scaler.mean)}: give those of the training"
    )
  period = named.PERIOD if series.series == named.SINE and not series.csv else 1
  known = None
  if series.calendar:
    _, known = calendars.features(values.clock, len(values.values) + series.horizon)
  lag = series.lag or (entry.lag if entry else period)
  return Data(series, values, scaler.apply(values), scaler, found, lag, known)


def _read(series: Series, seed: int, warn: Callable[[str], object]) -> Values:
  columns: dict[str, Any] = {"targets": series.target, "inputs": series.inputs}
  if series.csv:
    return regular.load(
      series.csv,
      time=series.time,
      time_format=series.time_format,
      gaps=series.gaps or "refuse",
      warn=warn,
      **columns,
    )
  for name in ("time", "time_format"):
    if getattr(series, name):
      raise BadInput(
        f"{name}={getattr(series, name)}: it is of a file; give `csv`, or leave it out"
      )
  return named.load(series.series, gaps=series.gaps, seed=seed, **columns)
