"""Subwords: every text comes back, the vocabulary is the training text's alone."""

import json

import numpy as np
import pytest
from commands import run

from unroll.data import subwords, tokens
from unroll.types import BadInput

pytest.importorskip("tokenizers", reason="pip install 'unroll[text]'")

TEXT = "the quick brown fox jumps over the lazy dog\n\nand the cat sat there. " * 30
STRANGE = "\u4e2d\u6587 \U0001f600\r\n\ta\u0301 the\u00a0fox  \n \n<unk> \x00"
KINDS = ("bpe:300", "unigram:400")


@pytest.fixture(scope="module", params=KINDS)
def vocabulary(request):
  return tokens.build(TEXT, request.param)


def test_every_text_comes_back_as_it_was(vocabulary):
  for text in ("", TEXT, STRANGE, "\n", " "):
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert ids.dtype == np.int32
    assert ids.size == 0 or 0 <= ids.min() <= ids.max() < len(vocabulary)


def test_subwords_are_fewer_than_bytes(vocabulary):
  assert vocabulary.encode(TEXT).size < 0.9 * len(TEXT)
  assert len(vocabulary) <= int(vocabulary.tokenizer.partition(":")[2])


def test_nothing_is_unknown(vocabulary):
  assert vocabulary.unknown is None


def test_json_gives_the_same_vocabulary(vocabulary):
  found = tokens.from_json(vocabulary.to_json())
  assert found.tokens == vocabulary.tokens
  assert found.digest() == vocabulary.digest()
  np.testing.assert_array_equal(found.encode(STRANGE), vocabulary.encode(STRANGE))


@pytest.mark.parametrize("kind", KINDS)
def test_learning_again_gives_the_same(kind):
  """Of tokenizers 0.23.3: scores of unigrams differ in their last digits each time."""
  found = {tokens.build(TEXT, kind).to_json() for _ in range(4)}
  assert len(found) == 1


def test_a_long_text_is_encoded_piece_by_piece_as_it_is_as_a_whole(
  vocabulary, monkeypatch
):
  text = TEXT + "line\nline two\n\n  three\n\u4e2d\n" * 50
  whole = vocabulary.encode(text)
  monkeypatch.setattr(subwords, "_PIECE", 7)
  monkeypatch.setattr(subwords, "_TOGETHER", 3)
  assert len(subwords._pieces(text)) > 50
  np.testing.assert_array_equal(vocabulary.encode(text), whole)


def test_normalising_comes_first():
  found = tokens.build("The FOX. " * 50, "bpe:300", "letters")
  assert found.decode(found.encode("THE 7 fox!")) == "the fox "


@pytest.mark.parametrize(
  "name, said",
  [
    ("bpe:256", "at least 257"),
    ("bpe", "bpe:N"),
    ("unigram:x", "unigram:"),
    ("wordpiece:900", "choose byte, char"),
    ("missing.json", "missing.json cannot be read"),
  ],
)
def test_what_there_is_not_is_refused(name, said):
  with pytest.raises(BadInput, match=said):
    tokens.build(TEXT, name)


def test_a_minimum_count_is_refused():
  with pytest.raises(BadInput, match="min_count=2"):
    tokens.build(TEXT, "bpe:300", min_count=2)


FAULTY = ["{", "{}", '{"version": "1.0"}', "[" * 10_000, "null"]


@pytest.mark.parametrize("text", FAULTY)
def test_a_faulty_tokenizer_is_refused(tmp_path, text):
  (tmp_path / "tokenizer.json").write_text(text)
  with pytest.raises(BadInput, match=r"tokenizer\.json"):
    tokens.build(TEXT, str(tmp_path / "tokenizer.json"))
  with pytest.raises(BadInput, match=r"vocab\.json"):
    tokens.from_json(
      json.dumps({"tokenizer": "bpe:300", "normalize": "none", "model": {"a": 1}})
    )


def test_a_users_tokenizer_is_read(tmp_path, vocabulary):
  (tmp_path / "tokenizer.json").write_text(vocabulary.model)
  found = tokens.build("another text", str(tmp_path / "tokenizer.json"))
  np.testing.assert_array_equal(found.encode(STRANGE), vocabulary.encode(STRANGE))


@pytest.mark.slow
def test_a_language_model_of_subwords_samples_text(tmp_path):
  (tmp_path / "book.txt").write_text(TEXT)
  flags = ["--corpus=book.txt", "--tokenizer=bpe:280", "--hidden=4", "--layers=1"]
  done = run(
    tmp_path, "charlm", *flags, "--batch=2", "--steps=2", "--workdir=run", "--json"
  )
  assert done.code == 0, done.err
  rate = done.json["val/bits_per_char"] * len(TEXT[int(0.9 * len(TEXT)) :])
  own = tokens.from_json((tmp_path / "run" / "vocab.json").read_text())
  size = own.encode(TEXT[int(0.9 * len(TEXT)) :]).size
  assert rate == pytest.approx(done.json["val/loss"] / np.log(2) * size, rel=1e-5)
  assert done.json["val/bits_per_byte"] == pytest.approx(done.json["val/bits_per_char"])
  done = run(tmp_path, "charlm", "--workdir=run", "--mode=sample", "--length=9")
  assert done.code == 0 and done.out
