"""The labels that a tagger gives to sentences, and how many of them are right."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from unroll.data import spans
from unroll.data.conll import Sentence
from unroll.data.lexicon import Lexicon, batches
from unroll.data.powers import Powers
from unroll.data.spans import Counts
from unroll.metrics import Measure, mean_of
from unroll.models.tagger import Tagger
from unroll.types import Params

ROWS = 128  # sentences side by side


class Judgement(NamedTuple):
  """How right labels are.

  Attributes:
    words: how many there are.
    right: how many words have the right label.
    unknown: how many words training has not.
    right_unknown: how many of those have the right label.
    spans: the counts by type of span, strictly by the scheme; "" is all types.
    lenient: the same as conlleval counts.
  """

  words: int
  right: int
  unknown: int
  right_unknown: int
  spans: Mapping[str, Counts]
  lenient: Mapping[str, Counts]

  def numbers(self) -> dict[str, float]:
    """The values of the measures that `measures` names."""
    return {
      "f1": self.spans[""].f1,
      "conlleval_f1": self.lenient[""].f1,
      "accuracy": self.right / max(self.words, 1),
      "unknown_accuracy": self.right_unknown / max(self.unknown, 1),
    }


def labeller(
  model: Tagger, lexicon: Lexicon, sentences: Sequence[Sentence]
) -> Callable[[Params], list[list[str]]]:
  """Makes `params -> the labels of each sentence`, compiled once for all parameters.

  Args:
    model: the model.
    lexicon: of its words and labels.
    sentences: in any order, of any length; their labels are not read.
  """
  lengths = [len(sentence.words) for sentence in sentences]
  source, own = Powers(lengths, batches(lexicon, sentences), ROWS), _labels(model)

  def labels(params: Params) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in sentences]
    for step, batch in enumerate(source):
      given = jax.device_put((batch.inputs, batch.valid))
      numbers = np.asarray(own(params, *given))
      for row, column in zip(source.chosen(step).tolist(), numbers.T):
        if row >= 0:
          found[row] = [lexicon.labels[n] for n in column[: lengths[row]]]
    return found

  return labels


@lru_cache(maxsize=16)  # so that the same model is the same program
def _labels(model: Tagger) -> Callable[..., Any]:
  return jax.jit(
    lambda params, inputs, valid: model.apply(params, inputs, valid, method="labels")
  )


def judged(
  lexicon: Lexicon, sentences: Sequence[Sentence], found: Sequence[Sequence[str]]
) -> Judgement:
  """Compares labels with those of sentences, over all words.

  A label that training has not can only be missed.
  """
  pairs = [(s.labels, labels) for s, labels in zip(sentences, found, strict=True)]
  right = [a == b for labels, own in pairs for a, b in zip(labels, own, strict=True)]
  new = [not lexicon.knows(word) for sentence in sentences for word in sentence.words]
  strict, lenient = (
    spans.added(
      spans.counts(*(spans.spans(each, lexicon.scheme, mode) for each in pair))
      for pair in pairs
    )
    for mode in (True, False)
  )
  both = sum(a and b for a, b in zip(right, new))
  return Judgement(len(right), sum(right), sum(new), both, strict, lenient)


def measures(scheme: str) -> tuple[Measure, ...]:
  """What people read of labels of a scheme; all but the loss are of `Judgement`.

  The F1 is of spans, strictly by the scheme; of plain labels every word is a span, and
  the F1 is the accuracy.
  """
  plain = scheme == spans.PLAIN

  def measure(name: str, label: str, drawn: bool = True) -> Measure:
    return Measure(name, "", "higher", _judged, form=".4f", label=label, drawn=drawn)

  label = "F1 of words" if plain else f"span F1 (strict, {scheme})"
  found = [
    measure("f1", label, not plain),
    measure("accuracy", "accuracy"),
    measure("unknown_accuracy", "accuracy of unknown words", plain),
    Measure("loss", "nats a word", "lower", mean_of("loss")),
  ]
  if not plain:
    found.insert(1, measure("conlleval_f1", "span F1 (conlleval)", False))
  return tuple(found)


def _judged(sums: Mapping) -> float:
  raise ValueError("labels are judged as a whole, and not by sums: give Task.judge")
