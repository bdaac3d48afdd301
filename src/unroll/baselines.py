"""Forecasts that any model should beat: naive, seasonal naive, drift, a linear map.

Each is a function of a past without holes, `[T, B, C] -> [K, B, C]`, in NumPy: with
`Horizons` it sees what a model sees, and the same windows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll import forecasting
from unroll.data.series.horizons import Horizons
from unroll.types import BadInput, Sums


class Baseline(NamedTuple):
  """A forecast by rule.

  Attributes:
    name: of the rule, with its lag or length.
    past: T, the rows that it needs.
    forecast: `(past [T, B, C], K) -> [K, B, C]`; the last T rows count.
  """

  name: str
  past: int
  forecast: Callable[[NDArray, int], NDArray]


def naive() -> Baseline:
  """The last value for all times to come: the best forecast of a random walk."""
  return Baseline("naive", 1, lambda past, k: np.repeat(past[-1:], k, axis=0))


def seasonal(lag: int) -> Baseline:
  """The value of one season before, or of the last one known.

  Args:
    lag: the season in rows.

  Raises:
    BadInput: the lag is less than 1.
  """
  if lag < 1:
    raise BadInput(f"lag={lag}: a season is at least 1 row long")

  def forecast(past: NDArray, steps: int) -> NDArray:
    return past[len(past) - lag + np.arange(steps) % lag]

  return Baseline(f"seasonal naive, lag {lag}", lag, forecast)


def drift(length: int) -> Baseline:
  """The line through the first and the last of `length` values, gone on with.

  Raises:
    BadInput: the length is less than 2.
  """
  if length < 2:
    raise BadInput(f"length={length}: a line goes through 2 values or more")

  def forecast(past: NDArray, steps: int) -> NDArray:
    slope = (past[-1] - past[-length]) / (length - 1)
    return past[-1] + slope * np.arange(1, steps + 1)[:, None, None]

  return Baseline(f"drift over {length}", length, forecast)


def linear(source: Horizons, ridge: float = 1e-6) -> Baseline:
  """An affine map of a column's own past, the least squares on the windows of a source.

  One map for each column and step. The last value is taken out of the past and put
  back into the forecast, so that the map of zeros is the naive forecast.

  Args:
    source: the training windows, of its T rows and K steps. Those with a missing target
      do not count.
    ridge: the weight of the squared coefficients, a share of the mean squared input.

  Raises:
    BadInput: no window of some column has all its targets.
  """
  columns, length = source.series.targets, source.window
  maps = []
  for column in range(columns):
    square, product = np.zeros((length + 1, length + 1)), 0
    for batch in source:
      inputs, last = _rows(batch.past[:, :, column])
      whole = (batch.weight[:, :, column] > 0).all(axis=0)
      inputs, outputs = inputs[whole], (batch.future[:, :, column] - last).T[whole]
      square, product = square + inputs.T @ inputs, product + inputs.T @ outputs
    if not square[-1, -1]:
      raise BadInput(
        f"{source.series.name}: no window of column {source.series.columns[column]} "
        "has all its targets, so that there is nothing to fit a linear map to"
      )
    weight = ridge * np.trace(square) / len(square)
    maps.append(np.linalg.solve(square + weight * np.eye(len(square)), product))

  def forecast(past: NDArray, steps: int) -> NDArray:
    if steps > source.horizon:
      raise ValueError(f"{steps} steps: the maps are for {source.horizon}")
    each = []
    for column, coefficients in enumerate(maps):
      inputs, last = _rows(past[-length:, :, column])
      each.append((inputs @ coefficients[:, :steps]).T + last)
    return np.stack(each, axis=-1)

  return Baseline(f"linear, past {length}", length, forecast)


def _rows(past: NDArray) -> tuple[NDArray, NDArray]:
  """Inputs `[B, T + 1]` of a past `[T, B]`, the last of them 1; and its last value."""
  past = past.astype(np.float64)
  inputs = np.concatenate([past - past[-1], np.ones((1, past.shape[1]))])
  return inputs.T, past[-1]


def errors(baseline: Baseline, source: Horizons) -> dict[str, Sums]:
  """The `forecasting.errors` of a baseline in an epoch of a source.

  The windows are those of the source, their pasts as long as the baseline needs.

  Raises:
    BadInput: the series begins too late for such a past.
  """
  first = min(int(o[o >= 0].min()) for o in map(source.origins, range(len(source))))
  if first < baseline.past:
    raise BadInput(
      f"{baseline.name}: needs {baseline.past} rows of past, and the first window of "
      f"{source.series.name} has {first}; take a shorter one, or split later"
    )
  sums: dict[str, Sums] = {}
  for step in range(len(source)):
    batch = source.at(source.origins(step), baseline.past)
    past = batch.past[..., : source.series.targets]
    found = baseline.forecast(past, source.horizon)[..., None]
    part = forecasting.errors(found, batch.future, batch.weight)
    sums = {name: sums[name] + own if sums else own for name, own in part.items()}
  return sums
