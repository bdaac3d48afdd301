"""Kinds of runs that a laboratory looks into: their own sequences, and their loss."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.parts import examples, scores, series, text
from experiments.parts.examples import Examples
from experiments.parts.scores import Scores
from experiments.parts.series import Series
from experiments.parts.text import Text
from experiments.session.settings import Settings
from unroll.data.batches import Batch, Source
from unroll.data.classes.reader import Reader
from unroll.data.series.scaler import Scaler
from unroll.data.synthetic.named import TASKS
from unroll.data.synthetic.task import EVALUATION, Sequences
from unroll.gradients import ChunkLoss
from unroll.loading import Loaded
from unroll.models.built import SERIES
from unroll.models.classifier import classifier_loss
from unroll.models.forecast_loss import forecast_loss
from unroll.models.language import next_token_loss
from unroll.models.music import roll_loss
from unroll.models.sequence import sequence_loss
from unroll.types import BadInput

ROWS = 256  # sequences of a batch that a few are taken from, where that is not given


class Places(NamedTuple):
  """Where sequences are looked at.

  Attributes:
    most: how many, at the most.
    before: steps of a text that are read before.
    lags: steps that follow, but for the last.
  """

  most: int
  before: int
  lags: int


class Kind(NamedTuple):
  """A kind of run whose layers read from left to right.

  Attributes:
    read: (the settings of a run, its model) -> the digest of its data, and what makes a
      batch `[T, B, …]` of their validation part: sequences that each start afresh, all
      of whose steps count.
    loss: (model, settings by name) -> its loss of such a batch, the mean of sequences
      of one weight.
    file: the setting that may name a file of the data.
  """

  read: Callable[[Settings, Loaded], tuple[str, Callable[[Places], Any]]]
  loss: Callable[[Any, Mapping[str, Any]], ChunkLoss]
  file: str = ""


def last(batch: Any) -> Any:
  """A batch of which nothing counts but the last of the steps `[T, B]` that do.

  What is asked of whole sequences stays: a label, a forecast.
  """
  weight = np.asarray(batch.weight)
  if weight.ndim != 2 or len(weight) == 1:
    return batch
  steps = np.arange(len(weight))[:, None]
  end = np.max(np.where(weight > 0, steps, -1), axis=0)
  return batch._replace(weight=(steps == end).astype(np.float32))


def ends(batch: Any, valid: NDArray[np.bool_]) -> NDArray[np.int_]:
  """The step of each sequence `[B]` that its loss looks back from.

  Args:
    batch: as of `last`.
    valid: `[T, B]`, the steps that a layer takes.
  """
  weight = np.asarray(batch.weight)
  found = weight > 0 if weight.shape == valid.shape else valid
  return len(valid) - 1 - np.argmax(found[::-1], axis=0)


def _longest(source: Source, places: Places) -> Any:
  """Sequences, evenly apart, of the batch that has most steps."""
  batch = max(source, key=lambda batch: len(jax.tree.leaves(batch)[0]))
  weight = np.moveaxis(np.asarray(batch.weight), 1, 0)
  (there,) = np.nonzero(weight.reshape(len(weight), -1).any(axis=1))
  count = min(places.most, there.size)
  columns = there[np.linspace(0, there.size - 1, count).astype(int)]
  return jax.tree.map(lambda leaf: np.asarray(leaf)[:, columns], batch)


def _text(run: Settings, model: Loaded):
  data = text.load(run[Text], model.vocabulary)

  def windows(places: Places) -> Batch:
    tokens, length = data.tokens["val"], places.before + places.lags + 2
    if length > tokens.size:
      raise BadInput(
        f"lags={places.lags} with before={places.before} takes {length} tokens, and "
        f"the validation text has {tokens.size}: lower them"
      )
    starts = np.linspace(0, tokens.size - length, places.most).astype(int)
    found = tokens[starts[None] + np.arange(length)[:, None]]
    reset = np.zeros((length - 1, places.most), bool)
    weight = np.ones(reset.shape, np.float32)
    return Batch(found[:-1], found[1:], weight, reset, None)

  return data.digest, windows


def _examples(run: Settings, model: Loaded):
  data = examples.load(run[Examples], Reader.from_files(model.files))
  return data.digest, lambda places: _longest(data.evaluation("val"), places)


def _series(run: Settings, model: Loaded):
  scaler = Scaler.from_json(json.loads(model.files[SERIES])["scaler"], SERIES)
  seed = model.config["flags"]["seed"]
  data = series.load(run[Series], seed=seed, scaler=scaler)
  return data.sha256, lambda places: _longest(data.evaluation("val", ROWS), places)


def _scores(run: Settings, model: Loaded):
  data = run[Scores].load()
  source = scores.evaluation(data.parts["val"]).sources["continued"]
  return data.digest(), lambda places: _longest(source, places)


def _task(run: Settings, model: Loaded):
  flags = model.config["flags"]

  def drawn(places: Places):
    task, length = TASKS[flags["task"]], flags["length"]
    source = Sequences(task, length, places.most, seed=EVALUATION, batches=1)
    return _longest(source, places)

  return model.config["data"], drawn  # made of its seed, which no file can change


KINDS = {
  "charlm": Kind(_text, lambda model, flags: next_token_loss(model), "corpus"),
  "classify": Kind(_examples, lambda model, flags: classifier_loss(model), "data"),
  "forecast": Kind(
    _series, lambda model, flags: forecast_loss(model, flags["loss"]), "csv"
  ),
  "memory": Kind(_task, lambda model, flags: sequence_loss(model)),
  "music": Kind(_scores, lambda model, flags: roll_loss(model), "scores"),
}


def refuse_others(workdir: str, config: Mapping[str, Any]) -> None:
  """Refuses a run without layers that read from left to right, and no more.

  Args:
    workdir: its folder.
    config: its configuration.

  Raises:
    BadInput: it is one.
  """
  flags, *some, final = config["flags"], *sorted(KINDS)
  if config["experiment"] not in KINDS:
    raise BadInput(
      f"workdir={workdir} is a run of experiments.{config['experiment']}, whose layers "
      f"do not only read from left to right: give one of {', '.join(some)} or {final}"
    )
  if flags.get("model", "recurrent") == "transformer":
    raise BadInput(
      f"workdir={workdir} is a Transformer, which carries no state from step to step: "
      "give the run of a recurrent model"
    )
  if flags.get("model", "recurrent") != "recurrent":
    raise BadInput(
      f"workdir={workdir} has model={flags['model']}, which has no recurrent layers: "
      "give a run with model=recurrent"
    )
  if flags.get("bidirectional"):
    raise BadInput(
      f"workdir={workdir} has `bidirectional` layers, which also read from right to "
      "left: give a run without"
    )
  if flags.get("head") == "feedback":
    raise BadInput(
      f"workdir={workdir} has head=feedback, which reads its own forecasts beyond the "
      "window: give a run with head=direct"
    )
