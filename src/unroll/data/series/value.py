"""A series: values at regular times, its holes, and its parts in time."""

import datetime
import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data import splits
from unroll.data.series import stamps
from unroll.data.series.stamps import Clock
from unroll.types import BadInput

GAPS = ("refuse", "forward", "linear")


class Series(NamedTuple):
  """Values `[N, C]`, one row a tick of the clock.

  Attributes:
    name: of the file, or in the registry.
    clock: what the stamp of each row is, and of rows to come.
    columns: the names of the C columns: targets, then inputs.
    targets: how many of the columns are forecast; the rest only help.
    values: float64 `[N, C]`, NaN where one is missing.
    gaps: how missing values are filled: "forward" or "linear"; "refuse" where there
      are none.
  """

  name: str
  clock: Clock
  columns: tuple[str, ...]
  targets: int
  values: NDArray[np.float64]
  gaps: str = "refuse"

  def digest(self) -> str:
    """The sha256 of all that a model learns from: values, stamps, names."""
    said = repr((self.clock, self.columns, self.targets, self.gaps, self.values.shape))
    return hashlib.sha256(said.encode() + self.values.tobytes()).hexdigest()

  def stamp(self, row: int) -> str:
    """The stamp of a row; from N on, of times to come."""
    return self.clock.write(row)


class Filled(NamedTuple):
  """A series without holes, of which a past shows only what was known at its end.

  Attributes:
    values: `[N, C]`, holes filled.
    forward: `[N, C]`, each hole filled with the last value before it.
    known: `[N, C]`, the row by which a value is known: its own, or for one between
      two values that of the second.
  """

  values: NDArray
  forward: NDArray
  known: NDArray[np.int64]

  def before(self, origin: NDArray, length: int) -> NDArray:
    """The `length` rows before each origin `[B]`, as known then: `[length, B, C]`.

    A hole at the end of a past has the last value before it, whatever fills it later.
    """
    rows = origin - length + np.arange(length)[:, None]
    known = self.known[rows] < origin[:, None]
    return np.where(known, self.values[rows], self.forward[rows])


def filled(values: NDArray, how: str) -> Filled:
  """Fills the holes (NaN) of `values [N, C]`, whose first row has none.

  Args:
    values: the values.
    how: "forward" repeats the last value; "linear" draws a line to the next one, or
      repeats the last where none follows; "refuse" takes no hole.

  Raises:
    BadInput: for another `how`.
    ValueError: the first row has a hole, or there is one to refuse.
  """
  if how not in GAPS:
    raise BadInput(f"gaps={how}: choose one of {', '.join(GAPS)}")
  there = np.isfinite(values)
  if not there[:1].all() or (how == "refuse" and not there.all()):
    raise ValueError("values are missing where none may be: see `table.series`")
  rows = np.arange(len(values))[:, None]
  last = np.maximum.accumulate(np.where(there, rows, 0), axis=0)
  forward = np.take_along_axis(values, last, axis=0)
  if how != "linear":
    return Filled(forward, forward, last)
  after = np.where(there, rows, len(values))
  after = np.minimum.accumulate(after[::-1], axis=0)[::-1]
  open_end = after == len(values)
  after = np.where(open_end, last, after)
  span = np.maximum(after - last, 1)
  rise = np.take_along_axis(values, after, axis=0) - forward
  return Filled(forward + rise * (rows - last) / span, forward, after)


def split(series: Series, spec: str) -> dict[str, range]:
  """The rows of "train", "val" and "test": one after the other in time.

  Args:
    series: what to split.
    spec: two or three fractions, "0.7,0.1,0.2"; numbers of rows, "8640,2880,2880",
      after which rows may be left over; or the stamps where val and test begin,
      "at:1958-01,1960-01".

  Raises:
    BadInput: the spec is none of these, or leaves a part empty.
  """
  size = len(series.values)
  stamped = spec.startswith("at:")
  parts = spec.removeprefix("at:").split(",")
  most = len(splits.NAMES) - stamped
  if not most - 1 <= len(parts) <= most:
    raise BadInput(
      f"split={spec} has {len(parts)} parts: give train,val[,test] as fractions or "
      "rows, or at:STAMP[,STAMP] where val and test begin"
    )
  if stamped:
    cuts = [0, *(_row(series, part, spec) for part in parts), size]
  elif all(part.isdecimal() for part in parts):
    cuts = np.cumsum([0, *map(int, parts)]).tolist()
  else:
    cuts = [0, *(stop for _, stop in splits.by_fractions(parts, size, spec))]
  if cuts[-1] > size or min(np.diff(cuts)) < 1:
    raise BadInput(
      f"split={spec} cuts {series.name} at rows {', '.join(map(str, cuts))}, and it has "
      f"{size}: every part needs a row"
    )
  return {n: range(*edge) for n, edge in zip(splits.NAMES, zip(cuts, cuts[1:]))}


def _row(series: Series, text: str, spec: str) -> int:
  clock = series.clock
  found = stamps.read(text, clock.form)
  if found is None or not _comparable(found.kind, clock.kind):
    raise BadInput(
      f"split={spec}: {text!r} is not a stamp of {series.name}, which has "
      f"{series.stamp(0)} to {series.stamp(len(series.values) - 1)}"
    )
  if clock.kind in ("integer", "float", "month") and not clock.day:
    return int(np.ceil((found.at - clock.start) / clock.step))
  moment = _moment(found)
  ticks = range(len(series.values))
  return next((t for t in ticks if clock.moment(t) >= moment), len(ticks))


def _comparable(kind: str, own: str) -> bool:
  families = (("integer", "float"), ("month",), ("date", "time", "utc"))
  return any(kind in f and own in f for f in families) or (kind, own) == (
    "month",
    "date",
  )


def _moment(found: stamps.Stamp) -> datetime.datetime:
  clock = Clock(found.kind, found.at, 1)
  return clock.moment(0) or datetime.datetime.min


class Scaler(NamedTuple):
  """Centres and scales each column, by what the training part alone says.

  Attributes:
    mean: float64 `[C]`.
    scale: float64 `[C]`, the standard deviation; 1 for a constant column.
  """

  mean: NDArray[np.float64]
  scale: NDArray[np.float64]

  @classmethod
  def fit(
    cls, series: Series, rows: range, warn: Callable[[str], object] = lambda text: None
  ) -> "Scaler":
    """Mean and deviation of the values there are in some rows.

    Args:
      series: the series.
      rows: those of the training part.
      warn: called with a sentence about each constant column.

    Raises:
      BadInput: a column has no value in these rows.
    """
    values = series.values[rows.start : rows.stop]
    for column in np.flatnonzero(~np.isfinite(values).any(axis=0)):
      raise BadInput(
        f"{series.name}: column {series.columns[column]} has no value in the training "
        "part, so that nothing can be learned of it: leave it out, or split later"
      )
    mean, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    # The mean of equal numbers may be off by a rounding, and so may their deviation.
    constant = np.nanmin(values, axis=0) == np.nanmax(values, axis=0)
    for column in np.flatnonzero(constant):
      warn(
        f"{series.name}: column {series.columns[column]} is constant in the training "
        f"part, {values[0, column]:g}: it is centred and not scaled"
      )
    return cls(
      np.where(constant, np.nanmin(values, axis=0), mean), np.where(constant, 1, scale)
    )

  def apply(self, series: Series) -> Series:
    """The series with every column centred and scaled; holes stay holes."""
    return series._replace(values=(series.values - self.mean) / self.scale)

  def invert(self, values: NDArray) -> NDArray[np.float64]:
    """Scaled values `[..., C]` of the first C columns in their own units."""
    columns = values.shape[-1]
    return values * self.scale[:columns] + self.mean[:columns]

  def to_json(self) -> dict[str, list[float]]:
    """The scaler as a JSON object, exactly."""
    return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

  @classmethod
  def from_json(cls, fields: object, where: str = "scaler.json") -> "Scaler":
    """The scaler of `to_json`; `where` is the file to name if it is none.

    Raises:
      BadInput: this is not what `to_json` writes.
    """
    match fields:
      case {"mean": list(mean), "scale": list(scale)} if len(mean) == len(scale):
        if all(type(x) in (int, float) for x in mean + scale) and all(
          0 < x < np.inf for x in scale
        ):
          return cls(np.array(mean, float), np.array(scale, float))
    raise BadInput(
      f"{where} is not a scaler: it must be an object of mean and scale, two lists of "
      "as many numbers, those of scale positive"
    )
