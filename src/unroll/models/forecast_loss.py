"""The loss of a forecaster, with the sums that all measures are made of."""

from collections.abc import Callable
from typing import cast

import jax.numpy as jnp

from unroll import forecasting, scan
from unroll.gradients.scheme import ChunkLoss
from unroll.models.forecast import Forecaster
from unroll.types import Array, BadInput, Sums

# What each loss is the mean of, by its name in `forecasting.errors`.
LOSSES = {"mse": "squared", "mae": "absolute", "quantile": "pinball"}


def forecast_loss(
  model: Forecaster, loss: str = "mse", backward: scan.Backward = "fast"
) -> ChunkLoss:
  """The mean error of the forecasts of a `Horizon`, as a chunk loss.

  Its sums are "loss" and those of `forecasting.errors`.

  Args:
    model: the model.
    loss: "mse"; "mae", whose forecast is a median; or "quantile", the pinball loss
      averaged over the levels of the model.
    backward: "autodiff" for forward mode, see `scan.unroll`.

  Raises:
    BadInput: for another loss, or one that does not fit the model's quantiles.
  """
  if loss not in LOSSES:
    raise BadInput(f"loss={loss}: choose one of {', '.join(LOSSES)}")
  if (loss == "quantile") != bool(model.quantiles):
    levels = ",".join(map(str, model.quantiles)) or "none"
    raise BadInput(
      f"loss={loss} with quantiles={levels}: the quantile loss needs quantiles, such "
      "as 0.1,0.5,0.9, and no other loss takes them"
    )
  apply = cast(Callable[..., Array], model.apply)

  def chunk_loss(params, carry, batch):
    forecast = apply(params, batch, carry, backward=backward)
    sums = forecasting.errors(forecast, batch.future, batch.weight, model.quantiles)
    own = Sums(*map(jnp.sum, sums[LOSSES[loss]]))
    return own.mean(), (carry, {"loss": own, **sums})

  return chunk_loss
