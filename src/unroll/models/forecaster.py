"""A forecaster as settings choose it: what reads the past, and how it looks ahead."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from unroll import remat
from unroll.architecture import Architecture
from unroll.compose import deep
from unroll.data.series.horizons import Horizon
from unroll.layers import rematerialised
from unroll.models.forecast import (
  NORMALISE,
  Forecaster,
  RecurrentForecaster,
  WindowForecaster,
  check_quantiles,
)
from unroll.models.forecast_loss import LOSSES
from unroll.settings import setting
from unroll.types import BadInput


@dataclass(frozen=True)
class Forecasts:
  """Models of forecasts"""

  model: str = setting(
    "recurrent",
    "what reads the window: recurrent layers, an affine map, or a perceptron (mlp) of "
    "the hidden widths",
    choices=("recurrent", "linear", "mlp"),
  )
  head: str = setting(
    "direct",
    "all steps at once, or one at a time, reading its own forecast of the one before",
    choices=("direct", "feedback"),
  )
  forced: bool = setting(
    False, "training with head=feedback reads the true values of the steps before"
  )
  normalise: str = setting(
    "last",
    "what is taken out of a window and put back into its forecast: its last value, or "
    "its mean and deviation",
    choices=NORMALISE,
  )
  shared: bool = setting(False, "forecasts each target by itself, all by one model")
  loss: str = setting("mse", "what training lowers", choices=sorted(LOSSES))
  quantiles: tuple[float, ...] = setting(
    (), "levels to forecast with loss=quantile, 0.5 among them: 0.1,0.5,0.9"
  )


class Shape(NamedTuple):
  """The sizes of a window.

  Attributes:
    targets: C.
    inputs: P.
    known: F, of what is known in advance.
    window: T.
    horizon: K.
  """

  targets: int
  inputs: int
  known: int
  window: int
  horizon: int


def forecaster(
  chosen: Forecasts,
  architecture: Architecture,
  shape: Shape,
  plan: remat.Plan = remat.NONE,
) -> Forecaster:
  """The model of some settings.

  Args:
    chosen: the settings.
    architecture: layers of a recurrent model, widths of an mlp.
    shape: of the windows.
    plan: which segments of a window are computed again for the gradient.

  Raises:
    BadInput: the settings do not fit one another.
  """
  check_quantiles(chosen.quantiles)
  feedback, recurrent = chosen.head == "feedback", chosen.model == "recurrent"
  if chosen.forced and not feedback:
    raise BadInput(f"`forced` with head={chosen.head}: only head=feedback reads values")
  if plan.name != "none" and (feedback or not recurrent):
    raise BadInput(
      f"remat={plan.name} with model={chosen.model} and head={chosen.head}: it is for "
      "model=recurrent and head=direct"
    )
  options: dict[str, Any] = {
    "targets": shape.targets,
    "horizon": shape.horizon,
    "quantiles": chosen.quantiles,
    "normalise": chosen.normalise,
    "shared": chosen.shared,
    "feedback": feedback,
    **architecture.model_options(),
  }
  if not recurrent:
    hidden = tuple(architecture.sizes) if chosen.model == "mlp" else ()
    return WindowForecaster(past=shape.window, hidden=hidden, **options)
  own = 1 if chosen.shared else shape.targets
  inputs = own + shape.inputs + shape.known
  core, width = architecture.encoder(inputs)
  if not feedback:
    core = rematerialised(core, plan)
    return RecurrentForecaster(core=core, width=width, **options)
  if architecture.weight_dropout:
    raise BadInput(
      f"weight_dropout={architecture.weight_dropout} with head=feedback: its masks are "
      "of a whole window; use recurrent_dropout or zoneout, or head=direct"
    )
  cell = deep(*architecture.cells(inputs), wiring=architecture.wiring)
  return RecurrentForecaster(core=cell, width=width, **options)


def example(shape: Shape) -> Horizon:
  """A window of zeros, to make parameters with."""
  known, columns = shape.known, shape.targets
  whole = shape.window + shape.horizon
  future = np.zeros((shape.horizon, 1, columns), np.float32)
  return Horizon(
    np.zeros((shape.window, 1, columns + shape.inputs), np.float32),
    np.zeros((whole, 1, known), np.float32),
    *(future, future, future),
  )
