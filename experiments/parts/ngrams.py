"""n-gram models: their settings, how they are made, and what is said of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.parts.text import Dataset
from experiments.session.settings import Settings
from unroll.data.text import TOKENIZERS
from unroll.data.vocabulary import BYTES, UNKNOWN, Vocabulary
from unroll.metrics import BITS_PER_BYTE, BITS_PER_CHAR, NATS, PERPLEXITY
from unroll.models.ngrams import NGrams, line_end
from unroll.ngram import arpa
from unroll.ngram.counts import Counts
from unroll.ngram.discounts import Discounts
from unroll.ngram.estimates import DISCOUNTED
from unroll.ngram.model import Model
from unroll.ngram.sentences import Sentences
from unroll.report import zipf
from unroll.types import BadInput, Sums

MEASURES = (NATS, BITS_PER_CHAR, BITS_PER_BYTE, PERPLEXITY)


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
