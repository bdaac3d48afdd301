"""A label for each sequence: texts, sounds, images, series; train, evaluate, predict.

  python -m experiments.classify --data=names --bidirectional --epochs=5
  python -m experiments.classify --data=reviews.csv --text=review --label=stars
  python -m experiments.classify --mode=predict --workdir=RUN < lines.txt > labels.tsv

With `--data=mnist_whole` a sequence has one step: from one to one.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.parts import examples, layers, predictions
from experiments.parts.examples import Data, Examples
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.terminal import extra, result
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan
from unroll.architecture import Architecture, Precision
from unroll.classification import MEASURES
from unroll.data.classes.reader import Reader
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.classifier import Classifiers, classifier, classifier_loss, example
from unroll.settings import setting
from unroll.transformer import Transformer


@dataclass(frozen=True)
class Classify:
  """Classification"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "predict"), role="call"
  )
  input: str = setting(
    "-",
    "what --mode=predict reads: a file of texts or of paths of sounds, one a line; a "
    ".csv, .tsv or .jsonl file, whose column --text is read; or an .npz file; -: "
    "standard input",
    kind="path",
    role="call",
  )


def main(settings: Settings) -> None:
  """Trains, evaluates or predicts, as `mode` says."""
  modes.run(settings, _task, predict=_predict)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  known = None if files is None else Reader.from_files(files)
  data = examples.load(settings[Examples], known)
  architecture, training = layers.chosen(settings), settings[Training]
  model_of = functools.partial(
    classifier,
    settings[Classifiers],
    architecture,
    data.reader.shape,
    dtype=settings[Precision].dtype,
  )
  model = model_of()

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return classifier_loss(model_of(plan=plan), backward)

  sizes = architecture.sizes
  mean = np.mean([len(sequence) for sequence in data.sequences["train"]])
  return Task(
    init=lambda key: model.init(key, example(data.reader.shape)),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=lambda seed, columns: data.training(training.batch, seed, columns),
    evaluations={
      part: Evaluation({"examples": data.evaluation(part)})
      for part in data.labels
      if part != "train"
    },
    measures=MEASURES,
    size=Size(max(sizes), sum(sizes), float(mean)),
    data=data.digest,
    model="classify",
    files=data.reader.files(),
    splits={part: len(labels) for part, labels in data.labels.items()},
    counted="examples",
    sized_by=layers.sized_by(settings, "embedding"),
    shows=("confusion.png", "calibration.png"),
    show=functools.partial(_show, data),
  )


def _show(data: Data, settings: Settings, best: Loaded, path: Path) -> None:
  """Prints how well each class is found, and draws it."""
  part = "test" if "test" in data.labels else "val"
  sums = predictions.counts(best.module, best.params, data.evaluation(part))
  predictions.tell(sums, part, data)
  with extra(path / "confusion.png"):
    predictions.draw_confusion(sums, part, data, path / "confusion.png")
  with extra(path / "calibration.png"):
    predictions.draw_calibration(sums, part, data, path / "calibration.png")


def _predict(settings: Settings) -> None:
  model, settings = modes.opened(settings)
  reader = Reader.from_files(model.files)
  shown, things = predictions.things(
    reader, settings[Classify].input, settings[Examples].text
  )
  found = model.predict(model.params, things)
  print(predictions.as_tsv(reader.classes, shown, found), end="")
  rows = [dict(zip(reader.classes, row.tolist())) for row in found]
  result({"probabilities": rows}, settings[Folder].json)


PAGE = Page(
  "classify",
  main,
  (
    Classify,
    Examples,
    Classifiers,
    Architecture,
    Transformer,
    Precision,
    Training,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
  objective=("accuracy", "higher"),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
