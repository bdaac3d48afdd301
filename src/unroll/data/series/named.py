"""The series that have a name: public files, pinned, and one that is made here."""

from typing import NamedTuple

import numpy as np

from unroll.data import cache
from unroll.data.cache import File, public
from unroll.data.series import regular
from unroll.data.series.stamps import Clock
from unroll.data.series.value import Series
from unroll.data.table import read_table
from unroll.errors import guess
from unroll.types import BadInput

SINE = "sine"
PERIOD, NOISE = 50, 0.1  # of the sine: ticks, and the deviation of what is added


class Entry(NamedTuple):
  """A public series.

  Attributes:
    file: where its table is.
    time: the column of stamps.
    targets: the columns that are forecast unless others are named.
    split: the published split, see `parts.split`.
    lag: the season in ticks, for seasonal-naive forecasts and MASE.
    licence: the licence of the numbers, or what is known about it.
    gaps: how missing values are filled.
    note: what one should know.
  """

  file: File
  time: str
  targets: tuple[str, ...]
  split: str
  lag: int
  licence: str
  gaps: str = "refuse"
  note: str = ""


_LIBRARY = "not stated; counts and measurements of the Time Series Data Library"

SERIES: dict[str, Entry] = {
  "ett": Entry(
    file=public("ett/ETTh1.csv"),
    time="date",
    targets=("OT",),
    split="8640,2880,2880",
    lag=24,
    licence="CC BY-ND 4.0",
    note="Load and oil temperature of a transformer, hourly (Zhou et al., Informer, "
    "2021): 12, 4 and 4 months of 30 days, after which 3,020 rows are left over.",
  ),
  "airline": Entry(
    file=public("timeseries/airline-passengers.csv"),
    time="Month",
    targets=("Passengers",),
    split="at:1957-01,1959-01",
    lag=12,
    licence=_LIBRARY,
    note="Passengers of international flights in thousands, monthly (Box & Jenkins).",
  ),
  "sunspots": Entry(
    file=public("timeseries/monthly-sunspots.csv"),
    time="Month",
    targets=("Sunspots",),
    split="0.7,0.1,0.2",
    lag=132,
    licence=_LIBRARY,
    note="Sunspot numbers of Zurich, monthly (Andrews & Herzberg): cycles of about 11 "
    "years.",
  ),
  "temperatures": Entry(
    file=public("timeseries/daily-min-temperatures.csv"),
    time="Date",
    targets=("Temp",),
    split="at:1988-01-01,1989-01-01",
    lag=365,
    licence=_LIBRARY,
    gaps="forward",
    note="Lowest temperature of each day in Melbourne, in degrees Celsius; 31 December "
    "of 1984 and 1988 are missing.",
  ),
}


def load(
  name: str,
  *,
  targets: tuple[str, ...] = (),
  inputs: tuple[str, ...] = (),
  gaps: str = "",
  seed: int = 0,
) -> Series:
  """A series by its name.

  Args:
    name: "sine", or a name in `SERIES`.
    targets: the columns to forecast; none: those of the entry.
    inputs: columns that the forecast may look back on.
    gaps: see `regular.series`; "": as the entry says.
    seed: of the noise of "sine".

  Raises:
    BadInput: there is no such series or column, or a gap to refuse.
  """
  if name == SINE:
    if targets or inputs:
      raise BadInput(f"{SINE} has one column, y: leave `targets` and `inputs` out")
    return sine(seed=seed)
  if name not in SERIES:
    names = sorted([SINE, *SERIES])
    raise BadInput(
      f"series={name}: choose one of {', '.join(names)}{guess(name, names)}"
    )
  entry = SERIES[name]
  found = regular.series(
    read_table(cache.read(entry.file), entry.file.path),
    targets=targets or entry.targets,
    time=entry.time,
    inputs=inputs,
    gaps=gaps or entry.gaps,
  )
  return found._replace(name=name)


def sine(
  length: int = 2000, seed: int = 0, period: float = PERIOD, noise: float = NOISE
) -> Series:
  """sin(2π t / period) and normal noise, for t = 0 … length - 1: one column `y`.

  Args:
    length: ticks; that of a series of one seed starts the same whatever its length.
    seed: of the noise.
    period: in ticks.
    noise: the deviation of the noise, and so the best root mean square error of a
      forecast.
  """
  if length < 1:
    raise BadInput(f"length={length}: a series has at least 1 tick")
  t = np.arange(length)
  drawn = np.random.default_rng(seed).normal(size=length)
  values = np.sin(2 * np.pi * t / period) + noise * drawn
  return Series(SINE, Clock("integer", 0, 1), ("y",), 1, values[:, None])
