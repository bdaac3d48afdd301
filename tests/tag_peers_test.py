"""Parity of span F1 with seqeval and with conlleval, on random labels."""

import warnings

import numpy as np
import pytest

from unroll.data import spans

pytestmark = pytest.mark.peers

KINDS = ("per", "loc", "creative-work")
SCHEMES = {"IOB2": ("BI", "IOB2"), "BIOES": ("BIES", "IOBES")}  # name in seqeval


def drawn(scheme, number, size=60):
  """Sentences of random labels, and others that agree with them in parts."""
  draw = np.random.default_rng(number)
  labels = ["O", *(f"{p}-{kind}" for p in SCHEMES[scheme][0] for kind in KINDS)]
  truth = [draw.choice(labels, draw.integers(1, 9)).tolist() for _ in range(size)]
  other = [draw.choice(labels, len(own)).tolist() for own in truth]
  pairs = [zip(*both) for both in zip(truth, other)]
  found = [[a if draw.random() < 0.8 else b for a, b in both] for both in pairs]
  return truth, found


def ours(truth, found, scheme, strict):
  return spans.added(
    spans.counts(*(spans.spans(each, scheme, strict) for each in pair))
    for pair in zip(truth, found)
  )


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_count_as_seqeval_counts_them(scheme, strict, number):
  """With mode and scheme both, which alone seqeval passes over in silence."""
  from seqeval import metrics
  from seqeval import scheme as schemes

  truth, found = drawn(scheme, number)
  mode = {"mode": "strict", "scheme": getattr(schemes, SCHEMES[scheme][1])}
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of scikit-learn, about types without a span
    report = metrics.classification_report(
      truth, found, output_dict=True, **(mode if strict else {})
    )
  table = ours(truth, found, scheme, strict)
  assert table[""].there > 30 and 0 < table[""].right < table[""].found
  for name, kind in (("micro avg", ""), *((kind, kind) for kind in KINDS)):
    counts = table[kind]
    wanted = report[name]
    assert counts.there == wanted["support"]
    assert counts.precision == pytest.approx(wanted["precision"], abs=1e-12)
    assert counts.recall == pytest.approx(wanted["recall"], abs=1e-12)
    assert counts.f1 == pytest.approx(wanted["f1-score"], abs=1e-12)


@pytest.mark.parametrize("number", range(5))
def test_spans_count_as_conlleval_counts_them(number):
  from conlleval import evaluate

  truth, found = drawn("IOB2", number)
  lines = []
  for pair in zip(truth, found):
    lines += [f"word {a} {b}" for a, b in zip(*pair)] + [""]
  wanted = evaluate(lines)["overall"]["chunks"]["evals"]
  counts = ours(truth, found, "IOB2", False)[""]
  assert counts.precision == pytest.approx(wanted["prec"], abs=1e-12)
  assert counts.recall == pytest.approx(wanted["rec"], abs=1e-12)
  assert counts.f1 == pytest.approx(wanted["f1"], abs=1e-12)
