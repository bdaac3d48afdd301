"""Forecasts of a real-valued series: train, evaluate, forecast the times to come.

  python -m experiments.forecast --series=airline --window=36 --horizon=12 --steps=300
  python -m experiments.forecast --csv=sales.csv --time=day --target=sold --minutes=1
  python -m experiments.forecast --mode=predict --workdir=RUN > forecast.csv
  tail -f -n +1 meter.csv | python -m experiments.forecast --csv=past.csv --online=-

Beside the model stand forecasts by rule: naive, seasonal naive, and a linear map.
"""

import csv
import functools
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.parts import forecasts, layers, online, series
from experiments.parts.online import Online
from experiments.parts.series import Series
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.terminal import extra, result, warn
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.data.series.live import LiveSeries
from unroll.data.series.scaler import Scaler
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.built import SERIES
from unroll.models.forecast_loss import forecast_loss
from unroll.models.forecaster import Forecasts, Shape, example, forecaster
from unroll.settings import setting

ROWS = 256  # windows side by side in an evaluation


@dataclass(frozen=True)
class Forecast:
  """Forecasting"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "predict"), role="call"
  )


def main(settings: Settings) -> None:
  """Trains, evaluates or predicts, as `mode` says."""
  if settings[Forecast].mode == "train":
    settings = online.prepared(settings)
  modes.run(settings, _task, predict=_predict)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  chosen, architecture = settings[Forecasts], layers.architecture(settings)
  data = _data(settings, files)
  shape = _shape(data)
  model_of = functools.partial(forecaster, chosen, architecture, shape)
  model, batch = model_of(), settings[Training].batch

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return forecast_loss(model_of(plan=plan), chosen.loss, backward)

  facts = forecasts.facts(data)
  text = {"shape": shape._asdict(), "scaler": data.scaler.to_json()}
  sizes = architecture.sizes
  task = Task(
    init=lambda key: model.init(key, example(shape)),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=lambda seed, columns: data.training(
      batch, seed, forced=chosen.forced, columns=columns
    ),
    evaluations={
      part: Evaluation({"windowed": data.evaluation(part, ROWS)}, facts)
      for part in ("val", "test")
      if part in data.parts
    },
    measures=forecasts.measures(chosen, data),
    size=Size(max(sizes), sum(sizes), float(shape.window)),
    data=data.sha256,
    model="forecast",
    files={SERIES: json.dumps(text) + "\n"},
    splits={part: len(rows) for part, rows in data.parts.items()},
    counted="values",
    sized_by=("hidden", "layers", "window", "horizon"),
    shows=("errors.png", "forecasts.png"),
    show=functools.partial(_show, data),
  )
  if not settings[Online].online or files is not None:
    return task
  window, horizon = shape.window, shape.horizon
  return online.streamed(
    settings,
    task,
    lambda incoming: LiveSeries(
      *(incoming, data.series, data.scaler, window, horizon, chosen.forced)
    ),
    [m for m in task.measures if m.name in ("loss", "mse", "mae")],
  )


def _data(
  settings: Settings, files: Mapping[str, str] | None, cut: bool = True
) -> series.Data:
  scaler = None
  if files is not None:
    scaler = Scaler.from_json(json.loads(files[SERIES])["scaler"], SERIES)
  seed = settings[Training].seed
  return series.load(settings[Series], seed=seed, scaler=scaler, cut=cut, warn=warn)


def _shape(data: series.Data) -> Shape:
  own, chosen = data.series, data.settings
  known = 0 if data.known is None else data.known.shape[1]
  inputs = len(own.columns) - own.targets
  return Shape(own.targets, inputs, known, chosen.window, chosen.horizon)


def _show(data: series.Data, settings: Settings, best: Loaded, path: Path) -> None:
  """Prints the errors of the model and of baselines, and draws forecasts."""
  model, params = best.module, best.params
  part = "test" if "test" in data.parts else "val"
  source = data.evaluation(part, ROWS)
  found = forecasts.errors(model, params, data, source)
  forecasts.tell(found, part, data)
  with extra(path / "errors.png"):
    forecasts.draw_errors(found, part, data, path / "errors.png")
  with extra(path / "forecasts.png"):
    forecasts.draw(model, params, data, source, path / "forecasts.png")


def _predict(settings: Settings) -> None:
  model, settings = modes.opened(settings, "csv")
  data = _data(settings, model.files, cut=False)
  text = forecasts.to_come(model, data)
  print(text, end="")
  (_, *names), *rows = csv.reader(io.StringIO(text))
  steps = [
    {"time": stamp, "values": dict(zip(names, map(float, cells)))}
    for stamp, *cells in rows
  ]
  result({"forecast": text, "steps": steps}, settings[Folder].json)


PAGE = Page(
  "forecast",
  main,
  (
    Forecast,
    Series,
    Forecasts,
    Architecture,
    Training,
    Online,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
