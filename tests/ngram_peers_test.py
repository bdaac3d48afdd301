"""n-gram models beside other toolkits: their reading of our files, ours of theirs."""

import io
import math

import numpy as np
import pytest
from arpa_test import END, SIZE, TOKENS, model_of
from ngram_test import text

from unroll.ngram import arpa, written
from unroll.ngram.additive import additive
from unroll.ngram.counts import count
from unroll.ngram.estimates import DISCOUNTED
from unroll.ngram.sentences import Sentences
from unroll.ngram.spelling import spelled

pytestmark = pytest.mark.peers
WORDS = [spelled(token, "\n") for token in TOKENS]
SENTENCES = Sentences(SIZE, END)


def lines(seed):
  """Random lines, as tokens with their ends."""
  random = np.random.default_rng(seed)
  others = [i for i in range(SIZE) if i != END]
  return [
    np.append(random.choice(others, random.integers(0, 9)), END) for _ in range(30)
  ]


def ours(model, tokens):
  """log10 of the probability of each token of a line."""
  stream = SENTENCES.to_score(tokens)
  return model.score(stream)[SENTENCES.targets(stream)] / math.log(10)


@pytest.fixture(params=[(name, how) for name in DISCOUNTED for how in (True, False)])
def model(request):
  return model_of(*request.param)


def test_arpa(tmp_path, model):
  """The package `arpa`: every n-gram of the file, and whole sentences."""
  peer = pytest.importorskip("arpa")
  path = tmp_path / "model.arpa"
  written.write(model, TOKENS, path, "\n")
  (theirs,) = peer.loadf(path)
  assert theirs.counts() == [(k, model.trie.count(k)) for k in (1, 2, 3)]
  for tokens in filter(lambda line: line.size > 1, lines(0)):  # it refuses others
    words = " ".join(WORDS[i] for i in tokens[:-1])
    expected = theirs.log_s(words)
    assert ours(model, tokens).sum() == pytest.approx(expected, abs=1e-6)
  dumped = io.StringIO()
  peer.dump(theirs, dumped)
  path.write_text(dumped.getvalue())
  again = arpa.read(path, "\n")
  numbers = np.array([again.tokens.index(token) for token in TOKENS])
  for tokens in lines(1):
    end = int(numbers[END])
    stream = Sentences(SIZE, end).to_score(numbers[tokens])
    found = again.model.score(stream)[Sentences(SIZE, end).targets(stream)]
    np.testing.assert_allclose(found / math.log(10), ours(model, tokens), atol=1e-3)


def test_kenlm(tmp_path, model):
  """KenLM, where it is there: it has no wheel, and builds with a compiler."""
  peer = pytest.importorskip("kenlm")
  path = tmp_path / "model.arpa"
  written.write(model, TOKENS, path, "\n")
  theirs = peer.Model(str(path))
  assert theirs.order == 3
  for tokens in lines(2):
    words = " ".join(WORDS[i] for i in tokens[:-1])
    expected = [log_p for log_p, _, _ in theirs.full_scores(words)]
    np.testing.assert_allclose(ours(model, tokens), expected, atol=1e-5)


def test_nltk():
  """Counts with a constant added; nltk's Kneser–Ney is another one."""
  peer = pytest.importorskip("nltk.lm")
  tokens, size, order = text(3, 6, 300), 6, 3
  counts = count(Sentences(size).to_count(tokens), order, size)
  vocabulary = peer.Vocabulary("01234", unk_label="5")
  theirs = peer.Lidstone(0.25, order, vocabulary)
  grams = [
    tuple(map(str, tokens[i : i + k]))
    for k in range(1, order + 1)
    for i in range(tokens.size - k + 1)
  ]
  theirs.fit([grams])
  model = additive(counts, 0.25)
  for context in np.random.default_rng(5).integers(0, size, (20, 2)).tolist():
    expected = [theirs.score(str(w), [*map(str, context)]) for w in range(size)]
    np.testing.assert_allclose(np.exp(model.next(context)), expected)
