"""How right texts are: distances by their definition, scores by their own library."""

import functools
import sys

import numpy as np
import pytest

from unroll import translation
from unroll.data.vocabulary import Vocabulary
from unroll.edits import edit_distance, error_rate
from unroll.translation import (
  corpus_scores,
  d2l_bleu,
  judged,
)
from unroll.types import BadInput

FOUND = ["The cat sat on the mat.", "A dog runs", "no"]
WANTED = ["The cat sits on a mat.", "a dog runs", "yes, it is"]
SPLIT = Vocabulary.build("", "joined").split_each


def defined(one, other):
  """Levenshtein's recursion, as it is defined."""

  @functools.cache
  def between(i, j):
    if min(i, j) == 0:
      return max(i, j)
    kept = between(i - 1, j - 1) + (one[i - 1] != other[j - 1])
    return min(kept, between(i - 1, j) + 1, between(i, j - 1) + 1)

  return between(len(one), len(other))


def test_edits_are_the_fewest():
  draw = np.random.default_rng(0)
  for symbols in (2, 3, 9):
    for _ in range(60):
      one, other = (
        "".join(map(str, draw.integers(symbols, size=n)))
        for n in draw.integers(9, size=2)
      )
      assert edit_distance(one, other) == defined(one, other), (one, other)
  for one, other, edits in (
    ("", "", 0),
    ("", "ab", 2),
    ("ab", "", 2),
    ("kitten", "sitting", 3),
  ):
    assert edit_distance(one, other) == edits
  assert edit_distance(("a", "b"), ["b"]) == 1


def test_the_rate_is_of_all_tokens_together():
  assert error_rate(["abc", ""], ["abd", "xyz"]) == 4 / 6
  assert error_rate([], []) == 0 == error_rate([""], [""])
  assert error_rate(["ab"], [""]) == 2
  with pytest.raises(ValueError, match="shorter"):
    error_rate(["ab"], [])


D2L = [  # 0.512 is what the book prints; the others by hand from its formula
  ("je suis chez moi .", "je suis chez moi .", 2, 1.0),
  ("je suis certain .", "je suis chez moi .", 2, 0.512),
  ("il est mouillé .", "il est calme .", 2, 0.658),
  ("A B", "A B C D E F", 2, np.exp(-2)),
  ("A B B C D", "A B C D E F", 3, np.exp(-0.2) * 0.8**0.5 * 0.75**0.25 * 3**-0.125),
  ("A A A", "A", 1, 3**-0.5),
  ("", "A", 2, 0.0),
  ("A", "", 2, 0.0),
  ("A", "A", 4, 1.0),
]


@pytest.mark.parametrize(("found", "wanted", "most", "score"), D2L)
def test_the_bleu_of_the_book_is_that_of_the_book(found, wanted, most, score):
  assert d2l_bleu(found.split(), wanted.split(), most) == pytest.approx(score, abs=5e-4)


def test_a_text_is_right_token_by_token():
  found = judged(["a  b", "c.", "d"], ["a b", "c .", "e"], SPLIT, scores=False)
  assert found.exact == 1 / 3 and found.errors == 2 / 5
  assert found.numbers() == {"exact": 1 / 3, "token_errors": 2 / 5}


def test_every_measure_but_those_of_the_loss_is_judged():
  pytest.importorskip("sacrebleu")
  for exact in (False, True):
    found = judged(FOUND, WANTED, SPLIT, scores=not exact).numbers()
    measures = translation.measures(exact)
    assert {m.name for m in measures} == {*found, "loss", "perplexity"}
    assert measures[0].name == ("exact" if exact else "bleu")
    for measure in measures[: len(found)]:
      assert measure.shown(found[measure.name])


def test_scores_are_of_sacrebleu_with_their_signature():
  library = pytest.importorskip("sacrebleu")
  for lower in (False, True):
    found = corpus_scores(FOUND, WANTED, lower=lower)
    bleu = library.corpus_bleu(FOUND, [WANTED], lowercase=lower).score
    ter = library.corpus_ter(FOUND, [WANTED], case_sensitive=not lower).score
    assert (found.bleu, found.ter) == (bleu, ter) and 0 < bleu < 100
    chrf = library.metrics.CHRF(lowercase=lower).corpus_score(FOUND, [WANTED]).score
    assert found.chrf == chrf
    for signature in found.signatures.values():
      assert f"version:{library.__version__}" in signature
      assert ("case:lc" in signature) == lower
  same = corpus_scores(["The cat sat on it."], ["the cat sat on it."], lower=True)
  assert (round(same.bleu, 9), round(same.chrf, 9), same.ter) == (100, 100, 0)


def test_a_text_may_have_several_references():
  """As many streams as the most references; None where a text has fewer."""
  library = pytest.importorskip("sacrebleu")
  wanted = [["The cat sits on a mat.", "The cat sat."], ["a dog runs"], ["yes", "no"]]
  streams = [[own[0] for own in wanted], [wanted[0][1], None, "no"]]
  found = corpus_scores(FOUND, wanted)
  for name in ("bleu", "chrf", "ter"):
    metric = getattr(library.metrics, {"chrf": "CHRF"}.get(name, name.upper()))
    options = {} if name != "ter" else {"case_sensitive": True}
    expected = metric(**options).corpus_score(FOUND, streams).score
    assert getattr(found, name) == expected
    assert "nrefs:var" in found.signatures[name]
  turned = corpus_scores(FOUND, [own[::-1] for own in wanted])
  assert turned[:3] == found[:3]
  assert corpus_scores(FOUND, [[own] for own in WANTED]) == corpus_scores(FOUND, WANTED)
  every = [[own, f"{own} too"] for own in FOUND]
  assert corpus_scores(FOUND, every).bleu == pytest.approx(100)
  with pytest.raises(ValueError, match="text 2 has no reference"):
    corpus_scores(FOUND, [["a"], [], ["b"]])


@pytest.mark.parametrize("found, wanted", [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_texts_are_as_many_as_references(found, wanted):
  for compare in (corpus_scores, functools.partial(judged, split=SPLIT)):
    with pytest.raises(ValueError, match=f"{len(found)} texts .* with {len(wanted)}"):
      compare(found, wanted)


def test_without_the_library_one_is_told_how_to_have_it(monkeypatch):
  monkeypatch.setitem(sys.modules, "sacrebleu", None)
  monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
  with pytest.raises(BadInput, match=r"pip install 'unroll\[translation\]'"):
    corpus_scores(["a"], ["a"])
  assert judged(["a"], ["a"], SPLIT, scores=False).exact == 1
