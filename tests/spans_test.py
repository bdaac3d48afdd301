"""Laws of the schemes of spans: what they can say, and from one to another."""

import itertools
import re

import numpy as np
import pytest

from unroll.data import spans
from unroll.data.spans import Counts, Span
from unroll.types import BadInput

KINDS = ("per", "creative-work")
PREFIXES = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES"}


def labels_of(scheme):
  return ["O", *(f"{p}-{kind}" for p in PREFIXES[scheme] for kind in KINDS)]


def drawn(draw, size):
  """Random spans of a sentence, some of them side by side."""
  found, at = [], 0
  while at < size:
    stop = min(at + int(draw.integers(1, 4)), size)
    if draw.random() < 0.7:
      found.append(Span(at, stop, str(draw.choice(KINDS))))
    at = stop
  return found


def said(found, size, scheme):
  """Labels of spans, written down from the definitions of the schemes."""
  out = ["O"] * size
  for number, span in enumerate(found):
    inside = [f"I-{span.type}"] * (span.stop - span.start)
    before = found[number - 1] if number else Span(-1, -1, "")
    touches = before.stop == span.start and before.type == span.type
    if scheme != "IOB1" or touches:
      inside[0] = f"B-{span.type}"
    if scheme == "BIOES":
      inside[-1] = f"{'E' if len(inside) > 1 else 'S'}-{span.type}"
    out[span.start : span.stop] = inside
  return out


@pytest.mark.parametrize("target", spans.SCHEMES)
@pytest.mark.parametrize("scheme", spans.SCHEMES)
def test_spans_stay_what_they_are_in_another_scheme(scheme, target):
  draw = np.random.default_rng(3)
  for size in (0, 1, 2, 5, 9, 14) * 8:
    found = drawn(draw, size)
    labels = said(found, size, scheme)
    assert spans.spans(labels, scheme) == found
    assert spans.spans(labels, scheme, strict=False) == found
    assert spans.converted(labels, scheme, target) == said(found, size, target)


@pytest.mark.parametrize("scheme", spans.SCHEMES)
def test_what_may_follow_is_what_spans_can_say(scheme):
  """Of all short sentences, those that a scheme has are those that spans give."""
  labels = labels_of(scheme)
  follows = spans.allowed(labels, scheme)
  edge = len(labels)
  assert follows[edge, edge]
  for size in range(4):
    for path in itertools.product(range(len(labels)), repeat=size):
      there = [labels[i] for i in path]
      may = all(follows[a, b] for a, b in itertools.pairwise([edge, *path, edge]))
      same = said(spans.spans(there, scheme), size, scheme) == there
      assert may == same, there


@pytest.mark.parametrize("scheme", spans.SCHEMES)
def test_a_scheme_is_recognised(scheme):
  draw = np.random.default_rng(4)
  rows = [(said(drawn(draw, 9), 9, scheme), range(9)) for _ in range(20)]
  assert spans.scheme_of(rows, "f") == scheme
  spans.check_scheme(rows, scheme, "f")


def test_other_labels_are_plain():
  for labels in (["NOUN", "X"], ["O"], ["O", "I"], ["B-x", "NOUN"], ["N-x"], []):
    assert spans.scheme_of([(labels, range(len(labels)))], "f") == spans.PLAIN
  assert spans.spans(["X", "O"], spans.PLAIN) == [Span(0, 1, "X"), Span(1, 2, "O")]
  assert spans.allowed(["X", "Y"], spans.PLAIN).all()


def test_bilou_is_bioes():
  there = ["B-x", "L-x", "U-x", "O", "B-x", "I-x", "L-x"]
  assert spans.scheme_of([(there, range(7))], "f") == "BIOES"
  wanted = ["B-x", "E-x", "S-x", "O", "B-x", "I-x", "E-x"]
  assert spans.converted(there, "BIOES", "BIOES") == wanted


@pytest.mark.parametrize(
  "text, sentence",
  [
    ("O I-x O B-x", "line 11 has I-x after O and not IOB1: line 13 has B-x after O"),
    ("B-x I-y", "line 11 has I-y after B-x and not IOB1: line 10 has B-x after the"),
    ("S-x E-x", "line 11 has E-x after S-x"),
    ("S-x B-x O", "line 12 has O after B-x"),
    ("S-x B-x", "line 11 has the end of the sentence after B-x"),
    ("I-x E-x", "line 10 has I-x after the start"),
  ],
)
def test_a_scheme_that_contradicts_itself_is_named_with_its_line(text, sentence):
  labels = text.split()
  rows = [(["O"], [3]), (labels, range(10, 10 + len(labels)))]
  with pytest.raises(BadInput, match=re.escape(f"f.txt is not {_first(text)}: ")) as at:
    spans.scheme_of(rows, "f.txt")
  assert sentence in str(at.value) and str(at.value).endswith("mend one of the lines")


def _first(text):
  return "BIOES" if {"S", "E"} & {label[0] for label in text.split()} else "IOB2"


def test_a_scheme_that_is_given_is_checked():
  rows = [(["O", "I-x"], [7, 8])]
  spans.check_scheme(rows, "IOB1", "f.txt")
  with pytest.raises(BadInput, match=r"f.txt is not IOB2: line 8 has I-x after O"):
    spans.check_scheme(rows, "IOB2", "f.txt")


@pytest.mark.parametrize(
  "scheme, labels, strict, lenient",
  [
    ("IOB2", "I-x I-x O B-y I-x", "34y", "02x 34y 45x"),
    ("IOB2", "B-x I-y I-x", "01x", "01x 12y 23x"),
    ("BIOES", "B-x I-x O E-x", "", "02x 34x"),
    ("BIOES", "B-x E-x I-x S-x", "02x 34x", "02x 23x 34x"),
  ],
)
def test_strict_counts_what_the_scheme_has(scheme, labels, strict, lenient):
  for mode, wanted in ((True, strict), (False, lenient)):
    found = spans.spans(labels.split(), scheme, strict=mode)
    assert [f"{start}{stop}{kind}" for start, stop, kind in found] == wanted.split()


def test_a_span_counts_if_place_and_type_are_right():
  truth = [Span(0, 2, "x"), Span(2, 3, "x"), Span(5, 6, "y")]
  found = [Span(0, 2, "x"), Span(2, 4, "x"), Span(5, 6, "x"), Span(8, 9, "z")]
  total = spans.added([spans.counts(truth, found), spans.counts([], []), {}])
  assert total[""] == Counts(1, 4, 3)
  assert total["x"] == (1, 3, 2) and total["y"] == (0, 0, 1) and total["z"] == (0, 1, 0)
  assert total[""].precision == 1 / 4 and total[""].recall == 1 / 3
  assert total[""].f1 == pytest.approx(2 / 7)
  assert Counts().f1 == Counts().precision == Counts().recall == 0
