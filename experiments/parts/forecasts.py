"""What people see of forecasts: measures, baselines beside them, pictures, a CSV."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parts.series import Data
from unroll import baselines, forecasting
from unroll.data.series import table
from unroll.data.series.gaps import filled
from unroll.data.series.horizons import Horizons
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.metrics import Measure, mean_of
from unroll.models.forecast import Forecaster
from unroll.models.forecaster import Forecasts
from unroll.report import forecasts
from unroll.types import Array, BadInput, Params, Sums

SCALE = "scale"  # among the sums of an evaluation: what MASE divides by
DRAWN = 4  # forecasts of a picture


def facts(data: Data) -> dict[str, Sums]:
  """What measures need beside the errors."""
  train = data.scaled.values[: data.parts["train"].stop, : data.series.targets]
  scale = forecasting.seasonal_scale(train, data.lag)
  return {SCALE: Sums(scale, np.ones_like(scale))}  # type: ignore[arg-type]


def measures(chosen: Forecasts, data: Data) -> tuple[Measure, ...]:
  """What people read of an evaluation; errors are of scaled values."""

  def mean(name: str) -> Any:
    return lambda sums: forecasting.mean_error(sums[name])

  def coverage(sums: Mapping[str, Sums], number: int) -> float:
    total, count = (float(leaf[number]) for leaf in sums["covered"])
    return total / max(count, 1.0)

  errors = {"mse": "squared", "mae": "absolute"}
  found = [
    Measure("loss", "", "lower", mean_of("loss"), form=".4f"),
    *(
      Measure(
        name,
        "",
        "lower",
        mean(sums),
        form=".4f",
        label=name.upper(),
        drawn=name != chosen.loss,
      )
      for name, sums in errors.items()
    ),
    Measure(
      "mase",
      "",
      "lower",
      lambda sums: forecasting.mase(sums, np.asarray(sums[SCALE].total)),
      form=".3f",
      label=f"MASE of lag {data.lag}",
      drawn=False,  # it is the MAE of each column on another scale
    ),
  ]
  for number, (low, high) in enumerate(forecasting.intervals(chosen.quantiles)):
    share = chosen.quantiles[high] - chosen.quantiles[low]
    found.append(
      Measure(
        f"coverage_{100 * share:g}",
        "",
        "higher",
        functools.partial(coverage, number=number),
        label=f"of truth in the {share:.0%} interval",
      )
    )
  return tuple(found)


def _apply(model: Forecaster, params: Params) -> Any:
  @jax.jit
  def apply(batch: Any) -> Array:
    return model.apply(params, batch, initial_carry(model, params, batch.past.shape[1]))  # type: ignore[return-value]

  return apply


def errors(
  model: Forecaster, params: Params, data: Data, source: Horizons
) -> dict[str, dict[str, Sums]]:
  """The errors of the model and of the baselines over a source, the model first."""
  apply, total = _apply(model, params), None
  for batch in source:
    part = forecasting.errors(apply(batch), batch.future, batch.weight, model.quantiles)
    total = part if total is None else jax.tree.map(jnp.add, total, part)
  assert total is not None
  found = {"model": jax.device_get(total)}
  train = data.training(source.batch, 0)
  rules = [baselines.naive(), baselines.linear(train)]
  if data.lag > 1:
    rules.insert(1, baselines.seasonal(data.lag))
  for rule in rules:
    try:
      found[rule.name] = jax.device_get(baselines.errors(rule, source))
    except BadInput:  # the series begins too late for it
      continue
  return found


def tell(found: Mapping[str, Mapping[str, Sums]], part: str, data: Data) -> None:
  """Prints a line for the model and each baseline, of scaled values."""
  scale = np.asarray(facts(data)[SCALE].total)
  head = f"{part}, scaled values"
  print(f"{head:26} {'MSE':>8} {'MAE':>8} MASE of lag {data.lag}")
  for name, sums in found.items():
    mse, mae = (forecasting.mean_error(sums[n]) for n in ("squared", "absolute"))
    print(f"{name:26} {mse:8.4f} {mae:8.4f} {forecasting.mase(sums, scale):8.3f}")


def draw_errors(
  found: Mapping[str, Mapping[str, Sums]], part: str, data: Data, path: Path
) -> None:
  """The root mean squared error by step, of model and baselines."""
  roots = {
    name: np.sqrt(forecasting.error_by_step(sums["squared"]))
    for name, sums in found.items()
  }
  title = f"{data.series.name}, {part}"
  forecasts.errors(roots, "root mean squared error, scaled values", title, path)


def draw(
  model: Forecaster, params: Params, data: Data, source: Horizons, path: Path
) -> None:
  """Forecasts of the first target, from the first window of a part to the last."""
  first, last = source.origins(0)[0], source.origins(len(source) - 1).max()
  origins = np.unique(np.linspace(first, last, DRAWN).astype(int))
  batch = source.at(origins)
  own = _in_units(np.asarray(_apply(model, params)(batch)), data)
  values = data.series.values[:, 0]
  shown = [
    forecasts.Forecast(
      data.series.columns[0],
      data.series.stamp(int(origin)),
      values[origin - source.window : origin],
      values[origin : origin + source.horizon],
      own[:, i, 0],
      model.quantiles,
    )
    for i, origin in enumerate(origins)
  ]
  title = f"{data.series.name}: forecasts of {source.horizon} steps"
  forecasts.forecasts(shown, title, path)


def to_come(model: Loaded, data: Data) -> str:
  """The forecast of what follows the last row, as a CSV text."""
  size, window = len(data.series.values), data.settings.window
  if size < window:
    raise BadInput(
      f"{data.series.name} has {size} rows, and window={window}: give more"
    )
  past = filled(data.series.values, data.series.gaps).before(np.array([size]), window)
  ahead = None if data.known is None else data.known[size - window :, None]
  found = model.predict(model.params, past, ahead)
  quantiles = model.module.quantiles
  return table.forecast_csv(data.series, size, found[:, 0], quantiles)


def _in_units(forecast: np.ndarray, data: Data) -> np.ndarray:
  """A forecast `[K, B, C, Q]` of scaled values in the units of its columns."""
  return np.moveaxis(data.scaler.invert(np.moveaxis(forecast, 2, -1)), -1, 2)
