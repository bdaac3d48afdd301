"""n-gram models: counts, smoothing and samples against plain references; Zipf's law."""

import collections
import itertools
import math
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ngram_reference import Reference, counted, sentences_of

import unroll.ngram
from unroll.ngram import saved, zipf
from unroll.ngram.additive import additive
from unroll.ngram.counts import count
from unroll.ngram.discounts import FALLBACK
from unroll.ngram.estimates import DISCOUNTED, discounted
from unroll.ngram.sample import sample
from unroll.ngram.sentences import Sentences
from unroll.types import BadInput

SRC = str(Path(unroll.ngram.__file__).parents[2])
MODELS = [
  ("laplace", True),
  ("add_k", True),
  *itertools.product(DISCOUNTED, (True, False)),
]


def text(seed, size, length, skew=1.5):
  """Tokens of which 0 is the rarest, and that depend on the one before."""
  random = np.random.default_rng(seed)
  chances = 1 / np.arange(1, size + 1) ** skew
  tokens = [0]
  for _ in range(length - 1):
    order = np.roll(np.arange(size)[::-1], tokens[-1] % 3)
    tokens.append(int(order[random.choice(size, p=chances / chances.sum())]))
  return np.array(tokens, np.int32)


# name -> tokens, V, the token of a line end or None for running text, n.
CORPORA = {
  "running": (text(0, 5, 90), 6, None, 3),
  "lines": (text(1, 5, 90), 6, 4, 3),
  "long lines": (text(2, 4, 120), 4, 1, 4),
  "every pair was seen": (text(3, 3, 300, 0.2), 3, None, 2),
  "single tokens": (text(4, 4, 50), 5, None, 1),
  "empty lines": (np.array([1, 1, 2, 1, 1, 1, 0, 2], np.int32), 3, 1, 3),
  "one token": (np.array([2], np.int32), 3, None, 4),
}


def model_of(corpus, smoothing, interpolated):
  """Our model and the reference, of the same text."""
  tokens, size, end, order = CORPORA[corpus]
  stream = Sentences(size, end).to_count(tokens)
  counts = count(stream, order, size)
  if smoothing in DISCOUNTED:
    model = discounted(
      counts, smoothing, interpolated=interpolated, warn=lambda said: None
    ).model
  else:
    model = additive(counts, 1.0 if smoothing == "laplace" else 0.25)
  k = 1 if smoothing == "laplace" else 0.25
  sentences = sentences_of(stream, size)
  return model, Reference(sentences, order, size, smoothing, interpolated, k)


def contexts(size, order):
  """All contexts of up to n tokens, at the start of a sentence and within."""
  for length in range(order + 1):
    for tokens in itertools.product(range(size), repeat=length):
      yield list(tokens)
      yield [size, *tokens]


def gram(trie, order, number):
  """The tokens of an n-gram."""
  if order == 1:
    return (number,)
  context, token = divmod(int(trie.keys[order - 2][number]), trie.radix)
  return (*gram(trie, order - 1, context), token)


def test_it_does_without_jax():
  """So that a process that only counts starts in no time."""
  names = [path.stem for path in Path(unroll.ngram.__file__).parent.glob("[!_]*.py")]
  imports = "; ".join(f"import unroll.ngram.{name}" for name in sorted(names))
  script = f"import sys; {imports}; assert not {{'jax', 'flax'}} & set(sys.modules)"
  subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": SRC})


@pytest.mark.parametrize(
  ("size", "order"), [(6, 1), (6, 4), (2**20, 7), (2**31 - 2, 5), (6, 40)]
)
@pytest.mark.parametrize("end", [None, 3])
def test_counts_are_those_of_a_dictionary(size, order, end):
  """Also where n tokens are too wide for one number."""
  tokens = text(5, 6, 200)
  if size > 2**30:  # the counts of single tokens are an array: not of so many
    size, tokens = 2**17, tokens + (2**17 - 6)
  stream = Sentences(size, end).to_count(tokens)
  found = count(stream, order, size)
  expected = counted(sentences_of(stream, size), order)
  for k, counts in enumerate(found.counts, 1):
    there = np.flatnonzero(counts)
    grams = {gram(found.trie, k, i): int(counts[i]) for i in there}
    assert grams == dict(expected[k])
  for k, suffixes in enumerate(found.trie.suffixes(), 2):
    for i, suffix in enumerate(suffixes):
      assert gram(found.trie, k, i)[1:] == gram(found.trie, k - 1, int(suffix))


def test_counting_takes_a_few_numbers_a_token():
  """Whatever n is: tracemalloc sees what NumPy allocates."""
  stream = np.append(50, np.random.default_rng(0).integers(0, 50, 300_000))
  tracemalloc.start()
  kept = count(stream.astype(np.int32), 3, 50)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 8 * 8 * stream.size and kept.counts[2].sum() < stream.size


@pytest.mark.parametrize(("smoothing", "interpolated"), MODELS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_probabilities_are_those_of_the_papers(corpus, smoothing, interpolated):
  model, reference = model_of(corpus, smoothing, interpolated)
  _, size, _, order = CORPORA[corpus]
  random = np.random.default_rng(6)
  listed = list(contexts(size, min(order, 3)))
  for context in random.permutation(len(listed))[:60]:
    context = listed[context]
    expected = [float(reference.p(w, context)) for w in range(size)]
    np.testing.assert_allclose(np.exp(model.next(context)), expected, rtol=1e-9)


@pytest.mark.parametrize(("smoothing", "interpolated"), MODELS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_probabilities_add_up_to_one(corpus, smoothing, interpolated):
  """After every context, seen or not, also one longer than the model reads."""
  model, _ = model_of(corpus, smoothing, interpolated)
  _, size, _, order = CORPORA[corpus]
  for context in contexts(size, min(order, 3)):
    p = np.exp(model.next(context))
    assert p.shape == (size,) and (p > 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-12), context


@pytest.mark.parametrize(("smoothing", "interpolated"), MODELS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_scores_are_those_of_one_token_after_another(corpus, smoothing, interpolated):
  model, _ = model_of(corpus, smoothing, interpolated)
  _, size, end, _ = CORPORA[corpus]
  sentences = Sentences(size, end)
  tokens = np.random.default_rng(7).integers(0, size, 40)
  for stream in (sentences.to_score(tokens), sentences.to_count(tokens)):
    scores = model.score(stream)
    for place, token in enumerate(stream):
      if token == size:
        assert scores[place] == -np.inf
      else:
        expected = model.next(stream[:place].tolist())[token]
        assert scores[place] == pytest.approx(expected, abs=1e-12)


def test_long_contexts_that_were_seen_are_read_whole():
  """As those of an order that no dictionary of all contexts could hold."""
  tokens = np.tile(text(8, 6, 40), 3)
  stream = Sentences(6).to_count(tokens)
  model = discounted(count(stream, 12, 6), warn=lambda said: None).model
  scores = np.exp(model.score(tokens)[50:])
  assert scores.min() > 0.5


def test_discounts_are_estimated_or_said_to_be_assumed():
  tokens, size, _, _ = CORPORA["every pair was seen"]
  counts = count(Sentences(size).to_count(tokens), 2, size)
  said = []
  found = discounted(counts, "modified_kneser_ney", warn=said.append)
  assert [d.amounts for d in found.discounts] == [FALLBACK[3]] * 2
  assert len(said) == 2
  assert said[0].startswith("order 1: none of its n-grams has a count of 1 or 2;")
  assert said[0].endswith("its discounts are 0.5, 1, 1.5")
  tokens = text(9, 40, 2000)
  counts = count(Sentences(40).to_count(tokens), 3, 40)
  found = discounted(counts, "kneser_ney", warn=said.append)
  n = collections.Counter(counts.counts[2].tolist())
  assert found.discounts[2].amounts == pytest.approx([n[1] / (n[1] + 2 * n[2])])
  assert found.discounts[2].estimated
  said.clear()
  found = discounted(counts, "modified_kneser_ney", warn=said.append)
  assert all(0 < d < c for c, d in enumerate(found.discounts[2].amounts, 1))
  assert len(said) == sum(not d.estimated for d in found.discounts)


@pytest.mark.parametrize(
  ("smoothing", "discount"),
  [
    ("absolute", (0.5, 0.5, 0.5)),
    ("absolute", (0.0,)),
    ("kneser_ney", (1.0,)),
    ("modified_kneser_ney", (0.5,)),
    ("modified_kneser_ney", (0.5, 2.0, 1.0)),
    ("modified_kneser_ney", (0.5, 1.0, math.nan)),
  ],
)
def test_discounts_that_cannot_be_are_refused(smoothing, discount):
  counts = count(Sentences(3).to_count([0, 1, 2]), 2, 3)
  with pytest.raises(BadInput, match=r"^discount=[0-9.,nan]*: give .*between 0 and 1"):
    discounted(counts, smoothing, discount=discount)


def test_a_discount_given_is_that_of_every_order():
  counts = count(Sentences(6).to_count(text(0, 5, 90)), 3, 6)
  found = discounted(counts, "absolute", discount=(0.3,))
  assert [d.amounts for d in found.discounts] == [(0.3,)] * 3


@pytest.mark.parametrize("added", [0.0, -1.0, math.nan])
def test_nothing_added_is_refused(added):
  with pytest.raises(ValueError, match="added="):
    additive(count(Sentences(3).to_count([0, 1, 2]), 2, 3), added)


def test_running_text_has_the_targets_of_a_neural_model():
  tokens = np.array([3, 1, 0, 1, 2], np.int32)
  running, lines = Sentences(4), Sentences(4, 1)
  assert running.to_count(tokens).tolist() == [4, 3, 1, 0, 1, 2]
  assert running.to_score(tokens).tolist() == [3, 1, 0, 1, 2]
  assert running.targets(running.to_score(tokens)).tolist() == [False] + [True] * 4
  assert lines.to_score(tokens).tolist() == [4, 3, 1, 4, 0, 1, 4, 2]
  stream = lines.to_score(tokens[:4])  # no sentence starts after the last line end
  assert stream.tolist() == [4, 3, 1, 4, 0, 1]
  assert stream[lines.targets(stream)].tolist() == [3, 1, 0, 1]
  assert lines.context([3, 1]).tolist() == [4, 3, 1, 4]
  assert lines.context([]).tolist() == [4] and running.context([]).tolist() == []


@pytest.mark.parametrize("end", [None, 4])
def test_samples_are_as_frequent_as_they_are_probable(end):
  size, sentences = 6, Sentences(6, end)
  stream = sentences.to_count(text(1, 5, 400))
  model = discounted(count(stream, 3, size), warn=lambda said: None).model
  p = np.exp(model.next(sentences.context([2, 4]).tolist()))
  generator = np.random.default_rng(0)
  for temperature, forbid in ((1.0, ()), (0.5, ()), (1.0, (4, 0))):
    options = {"length": 1, "temperature": temperature, "forbid": forbid}
    drawn = [
      sample(model, sentences, [2, 4], generator, **options) for _ in range(3000)
    ]
    expected = p ** (1 / temperature)
    expected[list(forbid)] = 0
    found = np.bincount(np.ravel(drawn), minlength=size) / 3000
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.03)


def test_samples_go_on_from_what_was_drawn():
  """A line end drawn starts a sentence, and the context is cut as for scores."""
  size, end = 6, 4
  sentences = Sentences(size, end)
  model = discounted(
    count(sentences.to_count(text(1, 5, 400)), 3, size), warn=lambda said: None
  ).model
  for how in (sentences, Sentences(size)):
    options = {"length": 30, "temperature": 0.0}
    drawn = sample(model, how, [2], np.random.default_rng(0), **options)
    for i in range(30):
      context = how.context([2, *drawn[:i]]).tolist()
      assert drawn[i] == int(np.argmax(model.next(context)))


def test_zipfs_exponent_is_found():
  ranks = np.arange(1, 5001)
  for exponent in (0.7, 1.0, 1.4):
    line = zipf.fit(np.random.default_rng(0).permutation(3e6 / ranks**exponent))
    assert line.exponent == pytest.approx(exponent) and line.scale == pytest.approx(3e6)
  with pytest.raises(ValueError, match="frequencies"):
    zipf.fit([3])


def test_counts_are_kept_in_a_file(tmp_path):
  path = tmp_path / "counts.npz"
  counts = count(Sentences(6, 4).to_count(text(1, 5, 90)), 3, 6)
  saved.write(counts, path)
  found = saved.read(path)
  assert found.trie.size == 6 and found.trie.order == 3
  for one, other in zip(
    (*counts.trie.keys, *counts.counts), (*found.trie.keys, *found.counts)
  ):
    assert (one == other).all() and one.dtype == other.dtype


def _cut(data):
  return data[: len(data) // 2]


def _flipped(data):
  place = data.index(b"counts_2.npy") + 200
  return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
  "damage", [_cut, _flipped, lambda data: b"", lambda data: b"text", None]
)
def test_a_damaged_file_ends_in_a_sentence(tmp_path, damage):
  path = tmp_path / "counts.npz"
  if damage:
    saved.write(count(Sentences(6).to_count(text(1, 5, 90)), 3, 6), path)
    path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(BadInput, match=r"counts\.npz .*: restore it, or train again"):
    saved.read(path)


def test_a_file_of_other_arrays_ends_in_a_sentence(tmp_path):
  path = tmp_path / "counts.npz"
  np.savez(path, size=np.int64(3), counts_1=np.zeros(3, np.int64))
  with pytest.raises(BadInput, match="does not hold the counts"):
    saved.read(path)
