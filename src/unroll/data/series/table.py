"""Forecasts as a CSV file."""

import csv
import io
from collections.abc import Sequence

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
  for k, row in enumerate(forecast.reshape(len(forecast), -1)):
    writer.writerow([series.stamp(origin + k), *(f"{x:.9g}" for x in row)])
  return out.getvalue()
