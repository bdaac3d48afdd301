"""Sentences about pictures: what is written, and how right: exact matches, CIDEr-D."""

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.captions import Pictures, Reader, pictures
from unroll.data.examples import Examples
from unroll.data.powers import Powers
from unroll.metrics import PERPLEXITY, Measure, mean_of
from unroll.models.captioner import Captioner
from unroll.translation import Scores
from unroll.types import Params
from unroll.writing import GREEDY, Beam, Hypothesis, written

LONGEST = 4  # tokens of the longest pieces that CIDEr compares
SIGMA = 6.0  # tokens; how soon a sentence of another length counts for less
SCALE = 10.0  # CIDEr-D of equal sentences of at least 4 tokens
ROWS = 128  # pictures side by side

Tokens = Sequence[str]
Vector = Mapping[tuple[str, ...], float]


def writer(
  model: Captioner,
  reader: Reader,
  images: NDArray[np.uint8],
  longest: int,
  how: Beam = GREEDY,
) -> Callable[[Params], list[list[Hypothesis]]]:
  """Makes `params -> the hypotheses of each picture`, the best first.

  Compiled once for all parameters; what is written of a picture does not depend on the
  others.

  Args:
    model: the model; of a coverage penalty one whose steps return weights.
    reader: of its vocabulary.
    images: uint8 `[N, side, side, 3]`.
    longest: the most tokens of a sentence.
    how: how they are looked for.
  """

  def made(rows: NDArray[np.integer], steps: int) -> Pictures:
    return pictures(images, rows)

  batches = Powers(np.ones(len(images), int), made, ROWS)
  return written(
    model, batches, lambda steps: longest, lambda tokens, row: reader.text(tokens), how
  )


def looked(
  model: Captioner, params: Params, image: NDArray[np.uint8], tokens: NDArray[np.int32]
) -> NDArray[np.float32]:
  """The weights `[T, rows, columns]` of a picture's places as each token was written.

  Args:
    model: one that attends, and whose steps return weights.
    params: its parameters.
    image: uint8 `[side, side, 3]`.
    tokens: of a hypothesis, `[T]`.
  """
  ones = np.ones((len(tokens), 1), bool)
  seen = Pictures(image[None, None])
  batch = Examples(seen, tokens[:, None], ones.astype(np.float32), ones)
  weights: Any = model.apply(params, batch, method="weights")
  return np.asarray(weights)[:, 0].reshape(len(tokens), *model.grid)


class Judgement(NamedTuple):
  """How right sentences are.

  Attributes:
    exact: the share that is one of its references, token by token.
    cider: CIDEr-D, 0 to 10.
    scores: those of sacrebleu, for BLEU; None where they were not asked for.
  """

  exact: float
  cider: float
  scores: Scores | None = None

  def numbers(self) -> dict[str, float]:
    """The values of the measures that `measures` names."""
    found = {"exact": self.exact, "cider": self.cider}
    return found if self.scores is None else {**found, "bleu": self.scores.bleu}


def judged(
  found: Sequence[Tokens],
  wanted: Sequence[Sequence[Tokens]],
  scores: Scores | None = None,
) -> Judgement:
  """Compares the sentence of each picture with its references.

  Args:
    found: the tokens of a sentence for each picture.
    wanted: those of the references of each, at least one.
    scores: those of the texts, if there is to be BLEU: `translation.corpus_scores`.

  Raises:
    ValueError: there is no picture, or not as many of both, or one has no reference.
  """
  _check(found, wanted)
  right = [any(tuple(f) == tuple(w) for w in own) for f, own in zip(found, wanted)]
  cider = cider_d(found, wanted)
  return Judgement(sum(right) / len(right), sum(cider) / len(cider), scores)


def cider_d(found: Sequence[Tokens], wanted: Sequence[Sequence[Tokens]]) -> list[float]:
  """CIDEr-D of each sentence, 0 to 10 (Vedantam, Zitnick & Parikh 2015).

  The mean over pieces of 1 to 4 tokens, and over references, of the cosine of vectors
  tf · log(N / df): tf is how often a sentence has a piece, df how many of N pictures
  have a reference with it. A piece counts no more often than in the reference, and a
  sentence that is d tokens longer or shorter counts exp(-d² / 72) of that. With one
  picture all is 0: what every picture has tells nothing.

  Args:
    found: the tokens of a sentence for each picture.
    wanted: those of the references of each, at least one.

  Raises:
    ValueError: there is no picture, or not as many of both, or one has no reference.
  """
  _check(found, wanted)
  counts = [[_counts(reference) for reference in own] for own in wanted]
  seen = collections.Counter[tuple[str, ...]]()
  for each in counts:
    seen.update({piece for reference in each for piece in reference})

  def vectors(pieces: Mapping[tuple[str, ...], int]) -> Sequence[Vector]:
    out: list[dict[tuple[str, ...], float]] = [{} for _ in range(LONGEST)]
    for piece, count in pieces.items():
      rarity = math.log(len(wanted) / max(seen[piece], 1))
      out[len(piece) - 1][piece] = count * rarity
    return out

  scores = []
  for sentence, references, own in zip(found, wanted, counts):
    ours, total = vectors(_counts(sentence)), 0.0
    for reference, pieces in zip(references, own):
      gap = len(sentence) - len(reference)
      alike = sum(map(_cosine, ours, vectors(pieces))) / LONGEST
      total += alike * math.exp(-(gap**2) / (2 * SIGMA**2))
    scores.append(SCALE * total / len(references))
  return scores


def measures(exact: bool) -> tuple[Measure, ...]:
  """What people read of sentences; all but those of the loss are of `Judgement`.

  Args:
    exact: a sentence is right or wrong as a whole, and BLEU is no measure of it.
  """

  def measure(name: str, label: str, form: str) -> Measure:
    return Measure(name, "", "higher", _judged, form=form, label=label)

  own = [measure("exact", "exact matches", ".4f"), measure("cider", "CIDEr-D", ".3f")]
  if not exact:
    own = [own[1], measure("bleu", "BLEU", ".2f"), own[0]]
  return (*own, Measure("loss", "nats a token", "lower", mean_of("loss")), PERPLEXITY)


def _counts(tokens: Tokens) -> collections.Counter[tuple[str, ...]]:
  """How often there is each piece of 1 to 4 tokens."""
  return collections.Counter(
    tuple(tokens[start : start + size])
    for size in range(1, LONGEST + 1)
    for start in range(len(tokens) - size + 1)
  )


def _cosine(ours: Vector, other: Vector) -> float:
  """The cosine of two vectors, of which ours has no more of a piece than the other."""
  norms = math.hypot(*ours.values()) * math.hypot(*other.values())
  both = sum(
    min(value, other[piece]) * other[piece]
    for piece, value in ours.items()
    if piece in other
  )
  return both / norms if norms else 0.0


def _judged(sums: Mapping) -> float:
  raise ValueError("sentences are judged as a whole, not by sums: give Task.judge")


def _check(found: Sequence, wanted: Sequence[Sequence]) -> None:
  if not found or len(found) != len(wanted) or not all(wanted):
    raise ValueError(
      f"{len(found)} sentences cannot be compared with the references of {len(wanted)} "
      "pictures: give a sentence and at least one reference for each"
    )
