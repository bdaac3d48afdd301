"""Errors of forecasts as sums, by step of the horizon and by column.

`[K, B, C, Q]` is a forecast of K steps, B windows, C columns and Q quantiles, of which
there is one where none are asked for; `[K, B, C]` is the truth, and its weight.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll.types import Array, BadInput, Sums


def squared_error(forecast: Array, truth: Array) -> Array:
  """(forecast - truth)²."""
  return jnp.square(forecast - truth)


def absolute_error(forecast: Array, truth: Array) -> Array:
  """|forecast - truth|, with a gradient of 0 where they are equal.

  That of `jnp.abs` is 1 there, which pulls down a forecast that is exact already.
  """
  error = forecast - truth
  return error * jnp.sign(error)


def pinball(forecast: Array, truth: Array, level: Array | float) -> Array:
  """The loss that the quantile of a level minimises (Koenker & Bassett 1978).

  level (truth - forecast) above the forecast, (1 - level) (forecast - truth) below: at
  0.5 half the absolute error. Other texts have twice this.
  """
  return 0.5 * absolute_error(forecast, truth) + (0.5 - level) * (forecast - truth)


def intervals(quantiles: Sequence[float]) -> list[tuple[int, int]]:
  """Pairs of positions (i, Q - 1 - i) of a lower and an upper quantile, widest first.

  Only levels that leave as much below as above make a pair.
  """
  size = len(quantiles)
  pairs = [(i, size - 1 - i) for i in range(size // 2)]
  return [(i, j) for i, j in pairs if abs(quantiles[i] + quantiles[j] - 1) < 1e-9]


def errors(
  forecast: Array | NDArray,
  truth: Array | NDArray,
  weight: Array | NDArray,
  quantiles: Sequence[float] = (),
) -> dict[str, Sums]:
  """The sums that all measures of a forecast are made of.

  Args:
    forecast: `[K, B, C, Q]`.
    truth: `[K, B, C]`.
    weight: `[K, B, C]`, 0 where nothing counts; what stands there may be anything.
    quantiles: the Q levels, 0.5 among them; () where the forecast is a point.

  Returns:
    "squared" and "absolute" `[K, C]`, of the point forecast, which is the median where
    there are quantiles; and with them "pinball" `[Q]`, whose counts make a mean over
    all levels, and "covered" `[I]`, how often the truth is within each interval.
  """
  forecast, truth, weight = map(jnp.asarray, (forecast, truth, weight))
  counts = weight > 0
  # Before anything is computed of it: a NaN would reach gradients in spite of weight 0.
  truth = jnp.where(counts, truth, 0)
  forecast = jnp.where(counts[..., None], forecast, 0)

  def summed(values: Array, axis: tuple[int, ...]) -> Sums:
    """Of values `[K, B, C, …]`."""
    extra = tuple(range(weight.ndim, values.ndim))
    counted = jnp.broadcast_to(jnp.expand_dims(weight, extra), values.shape)
    return Sums(jnp.sum(values * counted, axis), jnp.sum(counted, axis))

  point = forecast[..., list(quantiles).index(0.5) if quantiles else 0]
  sums = {
    "squared": summed(squared_error(point, truth), (1,)),
    "absolute": summed(absolute_error(point, truth), (1,)),
  }
  if quantiles:
    truth = truth[..., None]
    levels = jnp.asarray(quantiles, truth.dtype).reshape(1, 1, 1, -1)
    sums["pinball"] = summed(pinball(forecast, truth, levels), (0, 1, 2))
  if pairs := intervals(quantiles):
    low, high = (forecast[..., list(edges)] for edges in zip(*pairs))
    within = ((low <= truth) & (truth <= high)).astype(forecast.dtype)
    sums["covered"] = summed(within, (0, 1, 2))
  return sums


def mean_error(sums: Sums) -> float:
  """The mean over all steps and columns; NaN where nothing counted.

  Of "squared" it is the mean squared error, of "absolute" the mean absolute one, of
  "pinball" the mean over all levels.
  """
  total, count = (float(np.sum(np.asarray(x, np.float64))) for x in sums)
  return total / count if count else float("nan")


def error_by_step(sums: Sums) -> NDArray[np.float64]:
  """The mean over all columns for each step, `[K]`; NaN where nothing counted."""
  total, count = (np.asarray(x, np.float64).sum(axis=1) for x in sums)
  return _ratio(total, count)


def error_by_column(sums: Sums) -> NDArray[np.float64]:
  """The mean over all steps for each column, `[C]`; NaN where nothing counted."""
  total, count = (np.asarray(x, np.float64).sum(axis=0) for x in sums)
  return _ratio(total, count)


def _ratio(total: NDArray, count: NDArray) -> NDArray[np.float64]:
  return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def seasonal_scale(train: NDArray, lag: int) -> NDArray[np.float64]:
  """The mean of |y_t - y_{t - lag}| over the training part, `[C]`, for MASE.

  Args:
    train: `[N, C]`, the training part in the units of the forecasts, NaN where a value
      is missing: pairs without both do not count.
    lag: the season; 1 is Hyndman & Koehler's (2006) scale for series without one.

  Raises:
    BadInput: the part is not longer than the lag.
  """
  if not 1 <= lag < len(train):
    raise BadInput(
      f"lag={lag}: choose 1 to {len(train) - 1}, for the training part has "
      f"{len(train)} rows"
    )
  steps = np.abs(train[lag:] - train[:-lag])
  there = np.isfinite(steps)
  return _ratio(np.where(there, steps, 0).sum(axis=0), there.sum(axis=0))


def mase(sums: Mapping[str, Sums], scale: NDArray) -> float:
  """The mean absolute scaled error: each column's MAE / `seasonal_scale`, averaged.

  NaN if a scale is 0: the series repeats itself exactly over the lag.
  """
  if not np.all(scale > 0):
    return float("nan")
  return float(np.nanmean(error_by_column(sums["absolute"]) / scale))
