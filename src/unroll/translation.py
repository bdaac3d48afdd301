"""How right texts are that a model made of others: BLEU and its kin, exact matches.

BLEU, chrF and TER are those of the library sacrebleu, the extra `translation` of this
package, on texts as people write them: what scores mean is in their signatures.
"""

import collections
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from unroll.edits import error_rate
from unroll.metrics import PERPLEXITY, Measure, mean_of
from unroll.types import BadInput

Split = Callable[[Sequence[str]], Sequence[Sequence[str]]]


class Scores(NamedTuple):
  """What sacrebleu makes of a corpus; its signatures are to stand beside each.

  Attributes:
    bleu: BLEU (Papineni et al. 2002), 0 to 100.
    chrf: chrF2 (Popović 2015), 0 to 100.
    ter: the translation edit rate (Snover et al. 2006), 0 and up; lower is better.
    signatures: by these names: the case, the tokenizer, the version.
  """

  bleu: float
  chrf: float
  ter: float
  signatures: Mapping[str, str]


class Judgement(NamedTuple):
  """How right texts are.

  Attributes:
    exact: the share that is what it should be, token by token.
    errors: tokens to insert, delete or replace, by the tokens there should be.
    scores: those of sacrebleu; None where they were not asked for.
  """

  exact: float
  errors: float
  scores: Scores | None

  def numbers(self) -> dict[str, float]:
    """The values of the measures that `measures` names."""
    found = {"exact": self.exact, "token_errors": self.errors}
    if self.scores is None:
      return found
    bleu, chrf, ter, _ = self.scores
    return {"bleu": bleu, "chrf": chrf, "ter": ter, **found}


def judged(
  found: Sequence[str],
  wanted: Sequence[str],
  split: Split,
  *,
  lower: bool = False,
  scores: bool = True,
) -> Judgement:
  """Compares texts with what they should be.

  Args:
    found: what a model made.
    wanted: one reference for each.
    split: texts -> the tokens of each, as `Vocabulary.split_each`.
    lower: upper and lower case are the same to sacrebleu.
    scores: whether sacrebleu is asked too.

  Raises:
    ValueError: there is no text, or not as many of both.
    BadInput: sacrebleu is not installed.
  """
  _check(found, wanted)
  one, other = (list(map(list, split(texts))) for texts in (found, wanted))
  right = [a == b for a, b in zip(one, other)]
  own = corpus_scores(found, wanted, lower=lower) if scores else None
  return Judgement(sum(right) / len(right), error_rate(one, other), own)


def corpus_scores(
  found: Sequence[str], wanted: Sequence[str | Sequence[str]], *, lower: bool = False
) -> Scores:
  """BLEU, chrF and TER of a corpus, by sacrebleu (Post 2018).

  Args:
    found: what a model made, in words as people write them.
    wanted: a reference for each, or several.
    lower: upper and lower case are the same; the signatures say so.

  Raises:
    ValueError: there is no text, or not as many of both, or one has no reference.
    BadInput: sacrebleu is not installed.
  """
  # The library takes as many texts as the shorter list has, and says nothing (2.6.0).
  _check(found, wanted)
  several = [[own] if isinstance(own, str) else list(own) for own in wanted]
  if not all(several):
    raise ValueError(
      f"text {several.index([]) + 1} has no reference: give at least one"
    )
  library = check()
  own = {
    # By force it does not complain of texts that end in a mark apart.
    "bleu": library.BLEU(lowercase=lower, force=True),
    "chrf": library.CHRF(lowercase=lower),
    "ter": library.TER(case_sensitive=not lower),
  }
  # Of each text its first reference, of each its second, …: None where there is none.
  streams = list(map(list, itertools.zip_longest(*several)))
  values = {n: m.corpus_score(list(found), streams) for n, m in own.items()}
  signatures = {name: str(metric.get_signature()) for name, metric in own.items()}
  return Scores(**{n: v.score for n, v in values.items()}, signatures=signatures)


def check() -> Any:
  """The metrics of sacrebleu.

  Raises:
    BadInput: it is not installed.
  """
  try:
    import sacrebleu.metrics
  except ImportError:
    raise BadInput(
      "BLEU needs the library sacrebleu: pip install 'unroll[translation]'"
    ) from None
  return sacrebleu.metrics


def d2l_bleu(found: Sequence[str], wanted: Sequence[str], most: int = 2) -> float:
  """The BLEU of one sentence as Zhang et al., Dive into Deep Learning, 10.7, have it.

  The precisions of 1 to `most` tokens side by side, to the power of 1/2, 1/4, …: it
  serves to compare with their numbers alone, 0 to 1.

  Args:
    found: tokens.
    wanted: tokens.
    most: the longest pieces that are compared.
  """
  if not found:
    return 0.0
  score = math.exp(min(0.0, 1 - len(wanted) / len(found)))
  for size in range(1, min(most, len(found)) + 1):
    own, there = _pieces(found, size), _pieces(wanted, size)
    score *= ((own & there).total() / own.total()) ** 0.5**size
  return score


def measures(exact: bool) -> tuple[Measure, ...]:
  """What people read of texts; all but those of the loss are of `Judgement`.

  Args:
    exact: a text is right or wrong as a whole, and BLEU is no measure of it.
  """
  own = [
    _measure("exact", "higher", "exact matches", form=".4f", drawn=exact),
    _measure("token_errors", "lower", "token errors", form=".4f", drawn=exact),
  ]
  if not exact:
    own = [
      _measure("bleu", "higher", "BLEU", form=".2f"),
      _measure("chrf", "higher", "chrF2", form=".2f", drawn=False),
      _measure("ter", "lower", "TER", form=".2f", drawn=False),
      *own,
    ]
  return (
    *own,
    Measure("loss", "nats a token", "lower", mean_of("loss")),
    PERPLEXITY,
  )


def _measure(name: str, better: Any, label: str, **options: Any) -> Measure:
  return Measure(name, "", better, _judged, label=label, **options)


def _judged(sums: Mapping) -> float:
  raise ValueError("texts are judged as a whole, and not by sums: give Task.judge")


def _check(found: Sequence, wanted: Sequence) -> None:
  if not found or len(found) != len(wanted):
    raise ValueError(
      f"{len(found)} texts cannot be compared with {len(wanted)}: give as many, and "
      "at least one"
    )


def _pieces(tokens: Sequence[str], size: int) -> collections.Counter:
  pieces = (tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1))
  return collections.Counter(pieces)
