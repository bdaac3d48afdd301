"""What a transcriber hears in sounds, and how many of the labels are right."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from unroll import ctc
from unroll.data.buckets import Buckets
from unroll.data.examples import Examples
from unroll.data.powers import Powers
from unroll.data.speech.reader import BLANK
from unroll.edits import edit_distance
from unroll.metrics import Measure, mean_of
from unroll.models.transcriber import Transcriber
from unroll.types import Params

DECODERS = ("greedy", "beam")

# Logits and which of them are real -> the classes that are heard, of each sound.
Decoder = Callable[[NDArray, NDArray], list[tuple[int, ...]]]


class Judgement(NamedTuple):
  """How right labels are.

  Attributes:
    labels: how many are said.
    errors: how many must be put in, left out or replaced, at the least.
    sounds: how many there are.
    exact: in how many of them every label is right.
  """

  labels: int
  errors: int
  sounds: int
  exact: int

  def numbers(self) -> dict[str, float]:
    """The values of the first two of `MEASURES`."""
    return {
      "label_error": self.errors / max(self.labels, 1),
      "exact": self.exact / max(self.sounds, 1),
    }


def decoder(name: str, beams: int = 10) -> Decoder:
  """How labels are found in logits.

  Args:
    name: "greedy", the best path; "beam", the likeliest labels that a search over
      prefixes finds.
    beams: prefixes that the search keeps.
  """
  if name == "greedy":
    return lambda logits, valid: ctc.greedy(logits, valid, blank=BLANK)

  def search(logits: NDArray, valid: NDArray) -> list[tuple[int, ...]]:
    found = ctc.prefix_beam(logits, valid, beams, blank=BLANK)
    return [one.labels for one in found]

  return search


def listener(
  model: Transcriber, source: Buckets[Examples] | Powers[Examples], decode: Decoder
) -> Callable[[Params], list[tuple[int, ...]]]:
  """Makes `params -> the classes that are heard in each sound`, compiled once for all.

  Args:
    model: the model.
    source: the sounds in order of their length; their labels are not read.
    decode: see `decoder`.
  """
  logits_of = _logits(model)

  def heard(params: Params) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()] * len(source.lengths)
    for step in range(len(source)):
      batch, rows = source[step], source.chosen(step)
      given = jax.device_put((batch.inputs, batch.valid))
      logits = np.asarray(logits_of(params, *given))
      assert batch.valid is not None
      for row, labels in zip(rows.tolist(), decode(logits, batch.valid)):
        if row >= 0:
          found[row] = labels
    return found

  return heard


@lru_cache(maxsize=16)  # so that the same model is the same program
def _logits(model: Transcriber) -> Callable[..., Any]:
  return jax.jit(lambda params, inputs, valid: model.apply(params, inputs, None, valid))


def judged(said: Sequence[Sequence], heard: Sequence[Sequence]) -> Judgement:
  """Compares what is heard with what is said, over all sounds."""
  errors = [edit_distance(a, b) for a, b in zip(said, heard, strict=True)]
  return Judgement(sum(map(len, said)), sum(errors), len(errors), errors.count(0))


def _judged(sums: Mapping) -> float:
  raise ValueError("labels are judged as a whole, and not by sums: give Task.judge")


MEASURES = (
  Measure("label_error", "", "lower", _judged, form=".4f", label="label error rate"),
  Measure("exact", "", "higher", _judged, form=".4f", label="sounds without an error"),
  Measure("loss", "nats a label", "lower", mean_of("loss")),
)
