"""Time stamps: read from text, counted in regular ticks, written for times to come."""

import calendar
import datetime
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

FORMATS = (
  "1949-01-31, 1949-01-31 12:00:00 (also with T, a fraction or an offset from UTC), "
  "1949-01, or a number"
)
_EPOCH = datetime.datetime(1970, 1, 1)
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d{1,15}")
_LAST = 31  # a day of the month that stands for its last one

# "utc" is a time with an offset, "month" a stamp without a day.
Kind = Literal["month", "date", "time", "utc", "integer", "float"]


class Stamp(NamedTuple):
  """One stamp: its kind, and where it stands.

  `at` counts months since year 0 for "month", microseconds since 1970 for "date",
  "time" and "utc", and is the number itself for the others.
  """

  kind: Kind
  at: int | float


class Clock(NamedTuple):
  """How the stamps of a series advance, and how they are written.

  Attributes:
    kind: of its stamps.
    start: `at` of tick 0; where `day` is not 0, in months.
    step: from one tick to the next, in the unit of `start`.
    day: 0; or the day of the month of stamps that are dates a number of months apart,
      31 for the last day of each.
    form: the `strftime` form that the stamps were read by; "" for the usual ones.
  """

  kind: Kind
  start: int | float
  step: int | float
  day: int = 0
  form: str = ""

  def moment(self, tick: int) -> datetime.datetime | None:
    """The time of a tick; None where stamps are numbers. Offsets are counted in."""
    at = self.start + tick * self.step
    if self.kind in ("integer", "float"):
      return None
    if self.kind == "month" or self.day:
      year, month = divmod(int(at), 12)
      last = calendar.monthrange(year, month + 1)[1]
      return datetime.datetime(year, month + 1, min(self.day or 1, last))
    return _EPOCH + datetime.timedelta(microseconds=int(at))

  def write(self, tick: int) -> str:
    """The stamp of a tick, as the others of the series are written."""
    moment = self.moment(tick)
    if moment is None:
      at = self.start + tick * self.step
      return str(at) if self.kind == "integer" else f"{at:.12g}"
    if self.form:
      return moment.strftime(self.form)
    if self.kind == "month":
      return f"{moment:%Y-%m}"
    if self.kind == "date" and moment.time() == datetime.time():
      return f"{moment:%Y-%m-%d}"
    return moment.isoformat(sep=" ") + ("+00:00" if self.kind == "utc" else "")

  def every(self) -> str:
    """The step in words, such as "1 hour"."""
    if self.kind in ("integer", "float"):
      return f"{self.step:g}"
    if self.kind == "month" or self.day:
      return _plural(int(self.step), "month")
    seconds = self.step / 1e6
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
      if seconds % size == 0:
        return _plural(int(seconds // size), name)
    return f"{seconds:g} seconds"


def read(text: str, form: str = "") -> Stamp | None:
  """Reads one stamp; None if the text is not one.

  Args:
    text: a date, a time, a month or a number, see `FORMATS`.
    form: a form of `strptime` to read it by instead, such as "%d/%m/%Y".
  """
  text = text.strip()
  try:
    if form:
      moment = datetime.datetime.strptime(text, form)
      clocked = any(code in form for code in ("%H", "%I", "%M", "%S", "%c", "%X"))
      return _moment(moment, "time" if clocked else "date")
    if found := _MONTH.fullmatch(text):
      year, month = map(int, found.groups())
      return Stamp("month", 12 * year + month - 1) if 1 <= month <= 12 else None
    if _INTEGER.fullmatch(text):
      return Stamp("integer", int(text))
    if "-" in text[1:] and text[:4].isdecimal():
      moment = datetime.datetime.fromisoformat(text)
      return _moment(moment, "date" if _DATE.fullmatch(text) else "time")
    if not NUMBER.fullmatch(text) or not np.isfinite(number := float(text)):
      return None
    return Stamp("float", number)
  except ValueError:
    return None


def _moment(moment: datetime.datetime, kind: Kind) -> Stamp:
  if moment.tzinfo is not None:
    moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    kind = "utc"
  return Stamp(kind, (moment - _EPOCH) // datetime.timedelta(microseconds=1))


def clock(stamps: Sequence[Stamp], form: str = "") -> Clock:
  """The clock of stamps of one kind, of different times and in order.

  Its step is the most frequent difference, the shortest of several; dates that share
  their day of the month, or are all the last of theirs, advance by months. One stamp
  alone advances by 1.

  Args:
    stamps: at least one.
    form: as in `read`.
  """
  kind = stamps[0].kind
  ats, day = np.array([stamp.at for stamp in stamps]), 0
  if kind in ("date", "time"):
    months, day = _months(ats)
    ats = months if day else ats
  step = 1
  if len(ats) > 1:
    sizes, counts = np.unique(_tidy(np.diff(ats)), return_counts=True)
    step = sizes[counts.argmax()].item()
  return Clock(kind, ats[0].item(), step, day, form)


def ticks(clock: Clock, stamps: Sequence[Stamp]) -> NDArray[np.int64]:
  """The tick of each stamp, `[N]`; -1 where it falls between two of them."""
  ats = np.array([stamp.at for stamp in stamps])
  if clock.day:
    ats = _months(ats)[0]
  exact = (ats - clock.start) / clock.step
  whole = np.rint(exact)
  # A float such as 0.3 is not three times 0.1.
  near = np.abs(exact - whole) <= (1e-6 if clock.kind == "float" else 0)
  return np.where(near, whole, -1).astype(np.int64)


def _months(ats: NDArray) -> tuple[NDArray[np.int64], int]:
  """Months since year 0, and the day that all dates share; 0 if there is none."""
  moments = [_EPOCH + datetime.timedelta(microseconds=int(at)) for at in ats]
  months = np.array([12 * m.year + m.month - 1 for m in moments])
  different = len(set(months.tolist())) == len(months) > 2
  if not different or any(m.time() != datetime.time() for m in moments):
    return months, 0
  days = {m.day for m in moments}
  if len(days) == 1 and days.isdisjoint({29, 30, 31}):
    return months, days.pop()
  if all(m.day == calendar.monthrange(m.year, m.month)[1] for m in moments):
    return months, _LAST
  return months, 0


def _tidy(differences: NDArray) -> NDArray:
  """Differences of floats, rounded so that equal ones are equal."""
  if differences.dtype.kind == "i":
    return differences
  return np.array([float(f"{x:.9g}") for x in differences])


def _plural(count: int, name: str) -> str:
  return f"{count} {name}" + "s" * (count != 1)
