"""Forecasts as a CSV file."""

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.data.series.value import Series


def forecast_csv(
  series: Series, origin: int, forecast: NDArray, quantiles: Sequence[float] = ()
) -> str:
  """Forecasts as a CSV text: the stamp, then the columns, each with its quantiles.

  Args:
    series: what was forecast; its own units.
    origin: the row of the first forecast step.
    forecast: `[K, C, Q]`; Q is 1 where there are no quantiles.
    quantiles: the Q levels; `OT_q0.1` is the column of level 0.1 of `OT`.
  """
  out = io.StringIO(newline="")
  writer = csv.writer(out, lineterminator="\n")
  names = series.columns[: series.targets]
  levels = [f"_q{level:g}" for level in quantiles] or [""]
  writer.writerow(["time", *(name + level for name in names for level in levels)])
  digits = [_digits(series.values[:, column]) for column in range(series.targets)]
  for k, row in enumerate(forecast):
    cells = [f"{x:.{count}g}" for own, count in zip(row, digits) for x in own]
    writer.writerow([series.stamp(origin + k), *cells])
  return out.getvalue()


def _digits(values: NDArray) -> int:
  """The digits that show a 10⁸th of how far values spread: 9, or more far from 0."""
  known = values[np.isfinite(values)]
  if not known.size or known.min() == known.max():
    return 9
  size, spread = np.abs(known).max(), known.max() - known.min()
  return min(9 + max(math.ceil(math.log10(size / spread)), 0), 17)
