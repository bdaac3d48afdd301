"""An n-gram model as settings choose it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from unroll.data.text import EOS
from unroll.data.vocabulary import Vocabulary
from unroll.errors import BadInput
from unroll.ngram.additive import additive
from unroll.ngram.counts import Counts
from unroll.ngram.discounts import Discounts
from unroll.ngram.estimates import DISCOUNTED, discounted
from unroll.ngram.model import Model
from unroll.ngram.sentences import Sentences
from unroll.settings import setting

WORDS = ("word", "whitespace")  # tokenizers of which a line end is a word


@dataclass(frozen=True)
class NGrams:
  """n-grams"""

  order: int = setting(5, "n, the tokens of the longest n-grams", least=1, most=64)
  smoothing: str = setting(
    "modified_kneser_ney",
    "what n-grams that were not seen have",
    choices=("laplace", "add_k", *DISCOUNTED),
  )
  k: float = setting(0.01, "added to each count by add_k", least=0)
  interpolate: bool = setting(
    True,
    "shorter contexts count also where the longer one was seen; no: they are backed "
    "off to",
  )
  discount: tuple[float, ...] = setting(
    (), "discount, or three of modified_kneser_ney; empty: estimated for each order"
  )
  sentences: str = setting(
    "running",
    "running: the context reaches over line ends, as a neural model's does; lines: "
    "each line starts anew, as in KenLM and SRILM, and its end is predicted",
    choices=("running", "lines"),
  )


class Made(NamedTuple):
  """A model, and the discounts of its orders, none if it adds to counts."""

  model: Model
  discounts: tuple[Discounts, ...] = ()


def made(chosen: NGrams, counts: Counts, warn: Callable[[str], Any]) -> Made:
  """The model of counts."""
  if chosen.smoothing not in DISCOUNTED:
    added = 1.0 if chosen.smoothing == "laplace" else chosen.k
    return Made(additive(counts, added))
  estimate = discounted(
    counts,
    chosen.smoothing,
    interpolated=chosen.interpolate,
    discount=chosen.discount,
    warn=warn,
  )
  return Made(estimate.model, estimate.discounts)


def line_end(tokenizer: str) -> str:
  """The token of a line end."""
  return EOS if tokenizer in WORDS else "\n"


def sentences(chosen: NGrams, vocabulary: Vocabulary) -> Sentences:
  """Where sentences begin.

  Raises:
    BadInput: at line ends, of which there are none.
  """
  if chosen.sentences == "running":
    return Sentences(len(vocabulary))
  end = line_end(vocabulary.tokenizer)
  if end not in vocabulary.tokens:
    raise BadInput(
      "sentences=lines needs line ends, and the training text has none that is a "
      f"token of tokenizer={vocabulary.tokenizer} normalize={vocabulary.normalize}: "
      "use sentences=running"
    )
  return Sentences(len(vocabulary), vocabulary.tokens.index(end))
