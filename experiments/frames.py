"""The frames to come of a video, by convolutional cells: train, evaluate, predict.

  python -m experiments.frames --size=16 --shapes=2 --context=8 --horizon=8 --minutes=3
  python -m experiments.frames --data=clips.npz --context=10 --horizon=5
  python -m experiments.frames --mode=predict --workdir=RUN --output=pictures.png

The model learns to predict each frame from those before. It is evaluated on frames that
it predicts one after another, reading its own, beside copies of the last one it saw.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.parts import rollouts, video
from experiments.parts.rollouts import Rollouts
from experiments.parts.video import Data, Video
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Size, Task
from experiments.session.terminal import extra, result
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.built import FRAMES
from unroll.models.convolutions import Convolutions
from unroll.models.frames import Shape, example, frame_loss, frame_model
from unroll.settings import setting

ERRORS, PICTURE = "errors.png", "predicted.png"  # in a run's folder


@dataclass(frozen=True)
class Frames:
  """Frames"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "predict"), role="call"
  )
  forced: bool = setting(
    True,
    "training reads the true frames of the horizon; else what the model predicted of "
    "them, as an evaluation does",
  )


def main(settings: Settings) -> None:
  """Trains, evaluates or predicts, as `mode` says."""
  modes.run(settings, _task, predict=_predict)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  chosen, layers = settings[Video], settings[Convolutions]
  data, batch = video.load(chosen), settings[Training].batch
  forced = settings[Frames].forced
  model_of = functools.partial(frame_model, layers, data.shape)
  model = model_of()

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return frame_loss(model_of(plan=plan), forced, backward)

  evaluations = video.evaluations(data)
  places = data.shape.height * data.shape.width // layers.patch**2
  return Task(
    init=lambda key: model.init(key, example(data.shape)),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=lambda seed, columns: data.train(batch, seed, columns, not forced),
    evaluations=evaluations,
    measures=video.measures(chosen.horizon, evaluations["val"].facts),
    size=Size(
      max(layers.widths),
      places * sum(layers.widths),
      float(chosen.context + chosen.horizon),
    ),
    data=data.digest,
    model="frames",
    files={FRAMES: json.dumps({"shape": data.shape._asdict()}) + "\n"},
    splits={
      part: int(evaluation.facts["copied_next"].count)
      for part, evaluation in evaluations.items()
    },
    counted="frames",
    sized_by=("channels", "layers", "size", "context", "horizon"),
    shows=(ERRORS, PICTURE),
    show=functools.partial(_show, data),
  )


def _show(data: Data, settings: Settings, best: Loaded, path: Path) -> None:
  """Prints the errors of the model and of copying, and draws what it predicts."""
  part = "test" if "test" in data.parts else "val"
  model, params, source = best.module, best.params, data.parts[part]
  found = rollouts.errors(model, params, source)
  rollouts.tell(found, part)
  title = f"{data.name}, {part}"
  with extra(path / ERRORS):
    rollouts.draw_errors(found, title, path / ERRORS)
  with extra(path / PICTURE):
    clips, horizon = next(rollouts.given(source)), settings[Video].horizon
    rollouts.draw(model, params, clips, horizon, title, path / PICTURE)


def _predict(settings: Settings) -> None:
  chosen = settings[Rollouts]
  chosen.check()
  model, settings = modes.opened(settings, "horizon")
  horizon, output = settings[Video].horizon, Path(chosen.output)
  if chosen.input:
    shape = Shape(**json.loads(model.files[FRAMES])["shape"])
    name, clips = chosen.input, rollouts.to_come(chosen.input, shape, horizon)
  else:
    data = video.load(settings[Video])
    part = "test" if "test" in data.parts else "val"
    name, clips = f"{data.name}, {part}", rollouts.given(data.parts[part])
  if output.suffix == ".npz":
    rollouts.save(model, clips, horizon, output)
  else:
    title = f"{name}: {horizon} frames ahead"
    rollouts.draw(model.module, model.params, next(clips), horizon, title, output)
  print(f"{output}: {horizon} frames ahead, {name}")
  result({"output": str(output)}, settings[Folder].json)


PAGE = Page(
  "frames",
  main,
  (
    Frames,
    Video,
    Rollouts,
    Convolutions,
    Training,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
  objective=("ahead", "lower"),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
