"""Laws of the lexicon: what it learns of training, and how it reads all else."""

import json
import re

import numpy as np
import pytest

from unroll.data.conll import Sentence
from unroll.data.lexicon import Lexicon, batches, digest
from unroll.types import BadInput


def sentence(words, labels):
  return Sentence(tuple(words.split()), tuple(labels.split()), ())


TRAIN = [
  sentence("The cat saw THE 12 cats", "D N V D Q N"),
  sentence("the 34 saw", "D Q N"),
  sentence("", ""),
]


def lexicon(**options):
  return Lexicon.build(TRAIN, **{"scheme": "plain", "width": 4, **options})


def test_words_go_from_frequent_to_rare():
  found = lexicon()
  assert found.words == ("<unk>", "the", "00", "saw", "cat", "cats")
  assert found.singles == 4
  assert found.labels == ("D", "N", "Q", "V")
  assert found.characters[:2] == ("", "<unk>") and "T" in found.characters
  assert lexicon(lower=False).words[1:4] == ("00", "saw", "THE")
  assert lexicon(digits=False).singles == 3


def test_a_word_is_known_by_its_form():
  found = lexicon()
  assert found.read(["tHe", "99", "dog", "<unk>", "9"]).words.tolist() == [
    1,
    2,
    0,
    0,
    0,
  ]
  assert found.knows("THE") and found.knows("56") and not found.knows("dog")
  assert not found.knows("<unk>")
  assert lexicon(lower=False).read(["tHe"]).words.tolist() == [0]
  assert lexicon(digits=False).read(["99", "12"]).words.tolist()[0] == 0


def test_characters_are_those_of_the_word_itself():
  found = lexicon()

  def spelled(word):
    [row] = found.read([word]).characters.tolist()
    return [found.characters[i] for i in row]

  assert spelled("The") == ["T", "h", "e", ""]
  assert spelled("cats") == ["c", "a", "t", "s"]
  assert spelled("cabbages") == ["c", "a", "e", "s"]  # without its middle
  assert spelled("zZ1") == ["<unk>", "<unk>", "1", ""]
  one = lexicon(width=1).read(["cats"]).characters
  assert one.shape == (1, 1) and one[0, 0] == found.characters.index("c")


def test_a_batch_is_padded_and_a_new_label_has_no_weight():
  new = sentence("cat dog", "N NEW")
  make = batches(lexicon(), [TRAIN[0], new, Sentence(("saw",), (), ()), TRAIN[2]])
  batch = make(np.array([1, -1, 2, 3, 0]), 7)
  assert batch.inputs.words.shape == (7, 5) and batch.inputs.characters.shape == (
    7,
    5,
    4,
  )
  assert batch.valid.sum(0).tolist() == [2, 0, 1, 0, 6]
  assert batch.weight.sum(0).tolist() == [1, 0, 0, 0, 6]
  assert batch.targets[:2, 0].tolist() == [1, 0]
  assert not batch.inputs.characters[~batch.valid].any()
  assert not batch.inputs.words[~batch.valid].any()


def test_a_lexicon_comes_back_from_its_file():
  there = lexicon(lower=False, width=9, format="conllu")
  assert Lexicon.from_json(there.to_json()) == there
  fields = json.loads(there.to_json())
  for wrong in (
    {"scheme": "IOB9"},
    {"words": [1]},
    {"width": "9"},
    {"format": "x"},
    {"more": 1},
  ):
    text = json.dumps({**fields, **wrong})
    with pytest.raises(BadInput, match=re.escape("lexicon.json is not the lexicon")):
      Lexicon.from_json(text)
  for text in ("", "[]", "{}", "[" * 10**5):
    with pytest.raises(BadInput):
      Lexicon.from_json(text)


def test_what_a_scheme_forbids_is_part_of_the_sizes():
  assert lexicon().sizes.allowed == ()
  rows = [sentence("a b", "B-x I-x"), sentence("c", "O")]
  sizes = Lexicon.build(rows, scheme="IOB2").sizes
  allowed = dict(zip(("B-x", "I-x", "O", "ends"), sizes.allowed))
  assert allowed["O"] == (True, False, True, True) == allowed["ends"]
  assert all(allowed["B-x"]) and all(allowed["I-x"])
  assert hash(sizes) == hash(Lexicon.build(rows, scheme="IOB2").sizes)


def test_other_sentences_have_another_digest():
  there = digest({"train": TRAIN})
  assert digest({"train": list(TRAIN)}) == there
  moved = [TRAIN[0]._replace(lines=(3,)), *TRAIN[1:]]
  assert digest({"train": moved}) == there
  changed = [TRAIN[0]._replace(labels=TRAIN[0].labels[::-1]), *TRAIN[1:]]
  for other in ({"val": TRAIN}, {"train": TRAIN[:2]}, {"train": changed}):
    assert digest(other) != there
