"""What a stamp says by itself: hour, weekday, season, known for all times to come."""

import numpy as np
from numpy.typing import NDArray

from unroll.data.series.stamps import Clock
from unroll.types import BadInput

_DAY, _WEEK, _YEAR = 1.0, 7.0, 365.2425


def features(clock: Clock, length: int) -> tuple[tuple[str, ...], NDArray[np.float32]]:
  """Sine and cosine of the time of day, of the week and of the year.

  A cycle counts where it is at least two ticks long: a daily series has no hours.

  Args:
    clock: of a series.
    length: ticks from 0 on; beyond the series they are those of the times to come.

  Returns:
    The names of the F features, and float32 `[length, F]`.

  Raises:
    BadInput: the stamps are numbers, or a year or more apart.
  """
  found = (clock.moment(tick) for tick in range(max(length, 2)))
  moments = [moment for moment in found if moment is not None]
  if not moments:
    raise BadInput(
      "the stamps are numbers, which have no calendar: give dates, or leave its "
      "features out"
    )
  step = (moments[1] - moments[0]).total_seconds() / 86400
  moments = moments[:length]
  midnights = [m.replace(hour=0, minute=0, second=0, microsecond=0) for m in moments]
  hours = np.array([(m - n).total_seconds() for m, n in zip(moments, midnights)])
  hours /= 86400
  positions = {
    "day": (_DAY, hours),
    "week": (_WEEK, np.array([m.weekday() for m in moments]) + hours),
    "year": (_YEAR, np.array([m.timetuple().tm_yday - 1 for m in moments]) + hours),
  }
  names, columns = [], []
  for name, (period, at) in positions.items():
    if 2 * step <= period:
      for form, wave in (("sin", np.sin), ("cos", np.cos)):
        names.append(f"{form}_{name}")
        columns.append(wave(2 * np.pi * at / period))
  if not names:
    raise BadInput(
      f"the stamps are {clock.every()} apart, so that a calendar says nothing: leave "
      "its features out"
    )
  return tuple(names), np.stack(columns, axis=1).astype(np.float32)
