"""The series that have a name: public files, pinned, and one that is made here."""

import difflib
from typing import NamedTuple

import numpy as np

from unroll.data import cache
from unroll.data.cache import File
from unroll.data.series import regular
from unroll.data.series.stamps import Clock
from unroll.data.series.value import Series
from unroll.data.table import read_table
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


_GITHUB = "https://raw.githubusercontent.com"
_BROWNLEE = f"{_GITHUB}/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f"
_LIBRARY = "not stated; counts and measurements of the Time Series Data Library"

SERIES: dict[str, Entry] = {
  "ett": Entry(
    file=File(
      path="ett/ETTh1.csv",
      url=f"{_GITHUB}/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07"
      "/ETT-small/ETTh1.csv",
      sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
      size=2589657,
    ),
    time="date",
    targets=("OT",),
    split="8640,2880,2880",
    lag=24,
    licence="CC BY-ND 4.0",
    note="Load and oil temperature of a transformer, hourly (Zhou et al., Informer, "
    "2021): 12, 4 and 4 months of 30 days, after which 3,020 rows are left over.",
  ),
  "airline": Entry(
    file=File(
      path="timeseries/airline-passengers.csv",
      url=f"{_BROWNLEE}/airline-passengers.csv",
      sha256="8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621",
      size=2180,
    ),
    time="Month",
    targets=("Passengers",),
    split="at:1957-01,1959-01",
    lag=12,
    licence=_LIBRARY,
    note="Passengers of international flights in thousands, monthly (Box & Jenkins).",
  ),
  "sunspots": Entry(
    file=File(
      path="timeseries/monthly-sunspots.csv",
      url=f"{_BROWNLEE}/monthly-sunspots.csv",
      sha256="c4ec8cc57d9f6fb6ecdb3e1f37f25b6f4badd5124c55931052b0cd2fc3bc71f3",
      size=45039,
    ),
    time="Month",
    targets=("Sunspots",),
    split="0.7,0.1,0.2",
    lag=132,
    licence=_LIBRARY,
    note="Sunspot numbers of Zurich, monthly (Andrews & Herzberg): cycles of about 11 "
    "years.",
  ),
  "temperatures": Entry(
    file=File(
      path="timeseries/daily-min-temperatures.csv",
      url=f"{_BROWNLEE}/daily-min-temperatures.csv",
      sha256="8b9de63ed6789492bf497625e7f9beb96a63d367b4b0a21754006f749fa5e5da",
      size=67921,
    ),
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
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise BadInput(f"series={name}: choose one of {', '.join(names)}{hint}")
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
