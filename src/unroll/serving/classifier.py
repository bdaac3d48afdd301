"""A classifier: how likely each label is of a text, a sound, a picture or a series."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from unroll.data.classes.reader import Reader
from unroll.data.examples import padded
from unroll.data.powers import Powers
from unroll.models.built import Built
from unroll.score import Scores
from unroll.serving.value import Functions
from unroll.types import Array, BadInput, Params

ROWS = 64  # things side by side


def functions(built: Built) -> Functions:
  """What a classifier answers of things: texts, or arrays `[T, D]` of features.

  The features of a sound are those of `data.classes.audio`.

  `predict(params, things)`: float32 `[N, C]`, the probabilities of the labels, in the
  order of the classes in the run's `examples.json`.

  `score(params, things, labels)`: the log-probability of the label of each thing.
  """
  reader, chances = Reader.from_files(built.files), _chances(built.module)

  def predict(params: Params, things: Sequence[Any]) -> NDArray[np.float32]:
    found = np.zeros((len(things), len(reader.classes)), np.float32)
    sequences = reader.sequences(things)
    batches = Powers(
      [*map(len, sequences)], lambda *some: padded(sequences, *some), ROWS
    )
    for number, (inputs, valid) in enumerate(batches):
      rows = batches.chosen(number)
      found[rows[rows >= 0]] = np.asarray(
        chances(params, *jax.device_put((inputs, valid)))
      )[rows >= 0]
    return found

  def score(params: Params, things: Sequence[Any], labels: Sequence[str]) -> Scores:
    known = {label: number for number, label in enumerate(reader.classes)}
    new = sorted(set(labels) - set(known))
    if new or len(things) != len(labels):
      raise BadInput(
        f"{len(things)} things have {len(labels)} labels"
        + (f", of which training has not {', '.join(new)}" if new else "")
        + f": give each thing one of {', '.join(reader.classes)}"
      )
    with np.errstate(divide="ignore"):  # a label may be impossible
      nats = np.log(predict(params, things))
    numbers = np.array([known[label] for label in labels], np.int64)
    count = np.ones(len(labels), np.int32)
    return Scores(nats[np.arange(len(labels)), numbers], count)

  return Functions(predict, score=score)


@lru_cache(maxsize=16)  # so that the same model is the same program
def _chances(module: Any):
  @jax.jit
  def chances(params: Params, inputs: Array, valid: Array) -> Array:
    return jax.nn.softmax(module.apply(params, inputs, None, valid))

  return chances
