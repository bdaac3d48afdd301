"""A forecaster: what follows a past, in the units of its columns."""

import json
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.data.series.horizons import Horizon
from unroll.data.series.scaler import Scaler
from unroll.layers import initial_carry
from unroll.models.built import SERIES, Built
from unroll.models.forecaster import Shape
from unroll.serving.value import Functions
from unroll.types import Array, BadInput, Params


def functions(built: Built) -> Functions:
  """What a forecaster answers.

  `predict(params, past, known=None)`: `[K, B, C, Q]`, K steps of the C targets that
  follow a past `[T, B, C + P]` of targets and inputs without a hole, all in the units
  of the columns; Q is 1, or the quantiles of the run. `known`, `[T + K, B, F]`, is what
  is known in advance of past and future, where the run read such.
  """
  fields = json.loads(built.files[SERIES])
  shape, scaler = Shape(**fields["shape"]), Scaler.from_json(fields["scaler"], SERIES)
  forecast = _forecast(built.module)

  def predict(
    params: Params, past: ArrayLike, known: ArrayLike | None = None
  ) -> NDArray[np.float64]:
    past = np.asarray(past, np.float64)
    columns, horizon = shape.targets + shape.inputs, shape.horizon
    if past.shape != (shape.window, *past.shape[1:2], columns):
      raise BadInput(
        f"past is of shape {list(past.shape)}: give [{shape.window}, B, {columns}]"
      )
    wanted = shape.window + horizon, past.shape[1], shape.known
    ahead = np.zeros(wanted, np.float32) if known is None else np.asarray(known)
    if ahead.shape != wanted or (known is None and shape.known):
      raise BadInput(
        f"known is {'missing' if known is None else list(ahead.shape)}: give "
        f"{list(wanted)}"
      )
    none = np.zeros((horizon, past.shape[1], shape.targets), np.float32)
    scaled = ((past - scaler.mean) / scaler.scale).astype(np.float32)
    window = Horizon(scaled, ahead.astype(np.float32), none, none, none)
    found = np.moveaxis(np.asarray(forecast(params, jax.device_put(window))), 2, -1)
    return np.moveaxis(scaler.invert(found), -1, 2)

  return Functions(predict)


@lru_cache(maxsize=16)  # so that the same model is the same program
def _forecast(module: Any):
  @jax.jit
  def forecast(params: Params, window: Horizon) -> Array:
    carry = initial_carry(module, params, window.past.shape[1])
    return module.apply(params, window, carry)

  return forecast
