"""Labels that mark spans of words: the schemes IOB1, IOB2, BIOES, and the spans.

A label is `O`, outside of all spans, or a prefix and the type of a span, as `B-person`.

| scheme | prefixes |
|---|---|
| IOB1 | I inside; B only where a span follows another of its type at once |
| IOB2 | B at the first word of a span, I at the others (also called BIO) |
| BIOES | as IOB2, but E at the last word, S at the only one (BILOU: L and U) |
"""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.types import BadInput

OUTSIDE = "O"
PLAIN = "plain"  # labels of single words, such as parts of speech
SCHEMES = ("IOB1", "IOB2", "BIOES")
TARGETS = ("IOB2", "BIOES")  # what a model can learn
_BILOU = {"L": "E", "U": "S"}
_FOLLOWS = {"B": "IE", "I": "IE"}  # what goes on with a span, after each prefix


class Span(NamedTuple):
  """Words `start` to `stop - 1` of a sentence, of a type."""

  start: int
  stop: int
  type: str


class Counts(NamedTuple):
  """How many spans were right, found and there."""

  right: int = 0
  found: int = 0
  there: int = 0

  @property
  def precision(self) -> float:
    """The share of the spans found that are right; 0 if none was found."""
    return self.right / max(self.found, 1)

  @property
  def recall(self) -> float:
    """The share of the spans there that were found; 0 if there is none."""
    return self.right / max(self.there, 1)

  @property
  def f1(self) -> float:
    """The harmonic mean of precision and recall; 0 if there is no span at all."""
    return 2 * self.right / max(self.found + self.there, 1)


def taken_apart(label: str) -> tuple[str, str]:
  """The prefix and the type of a label; `O` has the type ""."""
  prefix, _, kind = label.partition("-")
  return _BILOU.get(prefix, prefix), kind


def marks_spans(labels: Iterable[str]) -> bool:
  """Whether labels are of a scheme of spans, and not plain ones."""
  pieces = [label.partition("-") for label in set(labels)]
  spans = [p for p, dash, _ in pieces if dash and p in ("B", "I", "E", "S", "L", "U")]
  plain = [p for p, dash, _ in pieces if p == OUTSIDE and not dash]
  return bool(spans) and len(spans) + len(plain) == len(pieces)


def scheme_of(sentences: Iterable[tuple[Sequence[str], Sequence[int]]], where: str):
  """The scheme of labels: one of `SCHEMES`, or `PLAIN`.

  Args:
    sentences: the labels of each sentence, and the lines that they stand in.
    where: the file, for the sentence of a `BadInput`.

  Raises:
    BadInput: no scheme has all of the labels in this order.
  """
  sentences = list(sentences)
  labels = {label for said, _ in sentences for label in said}
  if not marks_spans(labels):
    return PLAIN
  prefixes = {taken_apart(label)[0] for label in labels}
  possible = ("BIOES",) if prefixes & {"E", "S"} else ("IOB2", "IOB1")
  offences = [next(_offences(sentences, scheme), "") for scheme in possible]
  if "" in offences:
    return possible[offences.index("")]
  either = " and not IOB1: " if len(possible) > 1 else ""
  rest = f"{either}{offences[1]}" if either else ""
  raise BadInput(
    f"{where} is not {possible[0]}: {offences[0]}{rest}; mend one of the lines"
  )


def check_scheme(
  sentences: Iterable[tuple[Sequence[str], Sequence[int]]], scheme: str, where: str
) -> None:
  """Refuses labels that a scheme does not have in this order.

  Raises:
    BadInput: with the first of them, and its line.
  """
  if scheme != PLAIN and (offence := next(_offences(sentences, scheme), "")):
    raise BadInput(f"{where} is not {scheme}: {offence}; mend the line")


def follows(before: str, label: str, scheme: str) -> bool:
  """Whether a label may stand after another; `O` stands for the ends of a sentence."""
  (p, kind), (t, own) = taken_apart(before), taken_apart(label)
  same = kind == own
  if scheme == PLAIN:
    return True
  if scheme == "BIOES":
    return (p in "BI") == (t in "IE") and (t not in "IE" or same)
  if scheme == "IOB2":
    return t != "I" or (p != OUTSIDE and same)
  return t != "B" or (p != OUTSIDE and same)


def allowed(labels: Sequence[str], scheme: str) -> NDArray[np.bool_]:
  """Which label may follow which, `[N + 1, N + 1]`; N stands for both ends."""
  every = [*labels, OUTSIDE]
  return np.array([[follows(a, b, scheme) for b in every] for a in every])


def spans(labels: Sequence[str], scheme: str, strict: bool = True) -> list[Span]:
  """The spans of a sentence, first to last.

  Args:
    labels: of its words.
    scheme: one of `SCHEMES`; every word is a span of `PLAIN` labels.
    strict: counts only what the scheme has in this order, as seqeval does with
      `mode="strict"` and its scheme. Otherwise a label of another type, or after an
      end, opens a span: so count conlleval, of CoNLL-2000, and seqeval by default. Of
      IOB1 there is nothing else.
  """
  if scheme == PLAIN:
    return [Span(i, i + 1, label) for i, label in enumerate(labels)]
  if not strict or scheme == "IOB1":
    return _lenient(labels)
  return [span for span in _opened(labels) if _whole(labels, span, scheme)]


def counts(
  truth: Sequence[Span], found: Sequence[Span]
) -> collections.defaultdict[str, Counts]:
  """The counts of a sentence by type of span."""
  table: collections.defaultdict[str, Counts] = collections.defaultdict(Counts)
  for kinds in (set(truth) & set(found), found, truth):
    index = (kinds is found) + 2 * (kinds is truth)
    for span in kinds:
      values = list(table[span.type])
      values[index] += 1
      table[span.type] = Counts(*values)
  return table


def added(tables: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
  """The counts of many sentences by type of span; `sum` of all is under ""."""
  total: dict[str, Counts] = {"": Counts()}
  for table in tables:
    for kind, part in table.items():
      for name in (kind, ""):
        pairs = zip(total.get(name, Counts()), part)
        total[name] = Counts(*(a + b for a, b in pairs))
  return total


def converted(labels: Sequence[str], scheme: str, target: str) -> list[str]:
  """The labels of a sentence in another scheme; its spans stay what they are.

  Args:
    labels: of one scheme.
    scheme: theirs.
    target: the other.
  """
  if scheme == PLAIN:
    return list(labels)
  found = [OUTSIDE] * len(labels)
  last = Span(-1, -1, "")
  for span in spans(labels, scheme):
    first = "B" if target != "IOB1" or last[1:] == (span.start, span.type) else "I"
    marks = [first, *"I" * (span.stop - span.start - 1)]
    if target == "BIOES":
      marks[-1] = "E" if len(marks) > 1 else "S"
    found[span.start : span.stop] = [f"{mark}-{span.type}" for mark in marks]
    last = span
  return found


def _offences(
  sentences: Iterable[tuple[Sequence[str], Sequence[int]]], scheme: str
) -> Iterator[str]:
  """What a scheme does not have, in words, with its line."""
  for labels, lines in sentences:
    before = [OUTSIDE, *labels]
    after = [*labels, OUTSIDE]
    for at, pair in enumerate(zip(before, after)):
      if not follows(*pair, scheme):
        there = lines[min(at, len(lines) - 1)]
        left, right = (
          "the start" if at == 0 else pair[0],
          "the end of the sentence" if at == len(labels) else pair[1],
        )
        yield f"line {there} has {right} after {left}"


def _lenient(labels: Sequence[str]) -> list[Span]:
  """The spans as conlleval has them."""
  found, start = [], -1
  before, kind = OUTSIDE, ""
  for at, label in enumerate([*labels, OUTSIDE]):
    mark, own = taken_apart(label)
    new = mark in ("B", "S", OUTSIDE) or own != kind or before in ("E", "S", OUTSIDE)
    if new and before != OUTSIDE:
      found.append(Span(start, at, kind))
    if new and mark != OUTSIDE:
      start = at
    before, kind = mark, own
  return found


def _opened(labels: Sequence[str]) -> Iterator[Span]:
  """What begins with B or S, and goes on with labels of the same type inside of it."""
  pairs = [*map(taken_apart, labels), (OUTSIDE, "")]
  for start, (mark, kind) in enumerate(pairs):
    if mark in ("B", "S"):
      stop = start + 1
      while (
        pairs[stop][0] in _FOLLOWS.get(pairs[stop - 1][0], "")
        and pairs[stop][1] == kind
      ):
        stop += 1
      yield Span(start, stop, kind)


def _whole(labels: Sequence[str], span: Span, scheme: str) -> bool:
  return scheme == "IOB2" or taken_apart(labels[span.stop - 1])[0] in ("E", "S")
