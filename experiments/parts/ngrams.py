"""n-gram models: their settings, how they are made, and what is said of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.parts.text import Dataset
from experiments.session.settings import Settings
from unroll.data.text import EOS, TOKENIZERS
from unroll.data.vocabulary import BYTES, UNKNOWN, Vocabulary
from unroll.metrics import BITS_PER_BYTE, BITS_PER_CHAR, NATS, PERPLEXITY
from unroll.ngram import arpa
from unroll.ngram.additive import additive
from unroll.ngram.counts import Counts
from unroll.ngram.discounts import Discounts
from unroll.ngram.estimates import DISCOUNTED, discounted
from unroll.ngram.model import Model
from unroll.ngram.sentences import Sentences
from unroll.report import zipf
from unroll.settings import setting
from unroll.types import BadInput, Sums

MEASURES = (NATS, BITS_PER_CHAR, BITS_PER_BYTE, PERPLEXITY)
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


def check(settings: Settings) -> None:
  """Refuses settings that do not go together."""
  chosen = settings[NGrams]
  if chosen.smoothing not in DISCOUNTED:
    needless = {"interpolate", "discount"} & settings.given.keys()
  else:
    needless = set()
  if chosen.smoothing != "add_k":
    needless |= {"k"} & settings.given.keys()
  if needless:
    raise BadInput(
      f"smoothing={chosen.smoothing} has no use for `{min(needless)}`: drop it"
    )
  if not chosen.k > 0:
    raise BadInput(f"k={chosen.k:g}: give a number above 0")


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


def judged(
  model: Model, how: Sentences, data: Dataset, splits: tuple[str, ...]
) -> dict[str, float]:
  """What people read of splits, those that there are, by split and measure."""
  results: dict[str, float] = {}
  for split in splits:
    if split not in data.tokens:
      continue
    stream = how.to_score(data.tokens[split])
    log_probs = model.score(stream)[how.targets(stream)]
    loss = Sums(-log_probs.sum(), log_probs.size)  # type: ignore[arg-type]
    facts = {**data.facts[split], "loss": loss}
    results |= {f"{split}/{measure.name}": measure.of(facts) for measure in MEASURES}
    results[f"{split}/targets"] = log_probs.size
  return results


def read(path: Path, tokenizer: str, normalize: str) -> tuple[Vocabulary, Model]:
  """The vocabulary and the model of an ARPA file.

  Raises:
    BadInput: it is none, or of other tokens.
  """
  if tokenizer not in TOKENIZERS:
    raise BadInput(
      f"tokenizer={tokenizer}: an ARPA file is read with one of {', '.join(TOKENIZERS)}"
    )
  known = BYTES if tokenizer == "byte" else ()
  tokens, model = arpa.read(path, line_end(tokenizer), known)
  long = next((t for t in tokens if len(t) > 1 and t != UNKNOWN), None)
  if tokenizer == "char" and long:
    raise BadInput(
      f"arpa={path} has words of several characters, such as {long}: say "
      "tokenizer=whitespace or tokenizer=word"
    )
  return Vocabulary(tokenizer, normalize, tokens), model


def table(counts: Counts, discounts: tuple[Discounts, ...]) -> str:
  """How many n-grams there are of each order, and their discounts."""
  lines = [f"{'order':>5} {'n-grams':>13} {'seen once':>13}  discounts"]
  for order, values in enumerate(counts.counts, 1):
    seen = int(np.count_nonzero(values))
    once = int(np.count_nonzero(values == 1))
    amounts = discounts[order - 1].amounts if discounts else ()
    shown = " ".join(f"{amount:.4f}" for amount in amounts)
    lines.append(f"{order:5} {seen:13,d} {once:13,d}  {shown}".rstrip())
  return "\n".join(lines) + "\n"


def draw(counts: Counts, title: str, path: Path) -> None:
  """Draws Zipf's law of n-grams of up to three tokens."""
  frequencies: Mapping[str, np.ndarray] = {
    name: values[values > 0]
    for name, values in zip(
      ("tokens", "bigrams", "trigrams"),
      # The last of the tokens is the start of a sentence, which is none.
      (counts.counts[0][:-1], *counts.counts[1:]),
    )
  }
  zipf.zipf(frequencies, title, path)
