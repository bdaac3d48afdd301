"""Labelled sentences by name: what their files hold, as their papers count it."""

import os

import pytest

from unroll.data import cache, conll, sentences, spans
from unroll.types import BadInput

# Of each set and part: sentences, words, spans, as its own README or paper has them.
COUNTS = {
  "ud_english_ewt": ((12544, 204577, 0), (2001, 25147, 0), (2077, 25094, 0)),
  "wnut17": ((3394, 62730, 1975), (1009, 15733, 836), (1287, 23394, 1079)),
}
SCHEMES = {"ud_english_ewt": spans.PLAIN, "wnut17": "IOB2"}


def test_another_name_is_refused_with_the_nearest():
  with pytest.raises(BadInput, match="did you mean wnut17") as error:
    sentences.load("wnut16")
  assert all(name in str(error.value) for name in sentences.SETS)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("UNROLL_DATA"), reason="UNROLL_DATA is not set")
@pytest.mark.parametrize("name", sentences.SETS)
def test_the_published_counts_are_found(name):
  if not all((cache.root() / f.path).exists() for f in sentences.SETS[name].files):
    pytest.skip("not in the cache")
  parts = sentences.load(name)
  assert tuple(parts) == sentences.PARTS
  for (data, where), wanted in zip(parts.values(), COUNTS[name]):
    assert conll.format_of(data, where) == sentences.SETS[name].format
    found = conll.read(data, where)
    scheme = spans.scheme_of([(s.labels, s.lines) for s in found], where)
    assert scheme == SCHEMES[name]
    marked = 0
    if scheme != spans.PLAIN:
      marked = sum(len(spans.spans(s.labels, scheme)) for s in found)
    assert (len(found), sum(len(s.words) for s in found), marked) == wanted
