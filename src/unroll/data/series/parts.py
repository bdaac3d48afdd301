"""The training, validation and test part of a series: one after the other in time."""

import datetime
import itertools

import numpy as np

from unroll.data import splits
from unroll.data.series import stamps
from unroll.data.series.stamps import Clock
from unroll.data.series.value import Series
from unroll.types import BadInput


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
      f"split={spec} cuts {series.name} at rows {', '.join(map(str, cuts))}, and it "
      f"has {size}: every part needs a row"
    )
  return {n: range(*edge) for n, edge in zip(splits.NAMES, itertools.pairwise(cuts))}


def _row(series: Series, text: str, spec: str) -> int:
  clock = series.clock
  found = stamps.read(text, clock.form)
  if found is None or not _comparable(found.kind, clock.kind):
    raise BadInput(
      f"split={spec}: {text!r} is not a stamp of {series.name}, which has "
      f"{series.stamp(0)} to {series.stamp(len(series.values) - 1)}"
    )
  if clock.kind in ("integer", "float", "month") and not clock.day:
    ticks = (found.at - clock.start) / clock.step
    return int(np.ceil(ticks - 1e-6))  # a float such as 0.3 is not three times 0.1
  moment, size = _moment(found), len(series.values)
  return next((t for t in range(size) if (clock.moment(t) or moment) >= moment), size)


def _comparable(kind: str, own: str) -> bool:
  """Whether a stamp of one kind has a place among those of another."""
  if (kind, own) == ("month", "date"):
    return True
  families = (("integer", "float"), ("month",), ("date", "time", "utc"))
  return any({kind, own} <= set(family) for family in families)


def _moment(found: stamps.Stamp) -> datetime.datetime:
  clock = Clock(found.kind, found.at, 1)
  return clock.moment(0) or datetime.datetime.min
