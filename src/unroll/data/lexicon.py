"""What a tagger knows: words, characters and labels, numbered; sentences as arrays."""

import collections
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data import spans
from unroll.data.conll import COLUMNS, CONLLU, Sentence
from unroll.data.examples import Examples, padded
from unroll.data.vocabulary import UNKNOWN
from unroll.types import BadInput


class Words(NamedTuple):
  """The words of sentences, numbered.

  Attributes:
    words: int32 `[T, B]`; 0 is a word that the lexicon has not.
    characters: int32 `[T, B, C]`; 0 after the last of a word, 1 is unknown.
  """

  words: NDArray[np.int32]
  characters: NDArray[np.int32]


@dataclass(frozen=True)
class Lexicon:
  """The words, characters and labels of a training part.

  Attributes:
    words: by number: `<unk>`, then from frequent to rare, in the form of `form`.
    singles: the number of the first word that training has only once.
    characters: by number: "", `<unk>`, then from frequent to rare.
    labels: by number.
    scheme: of the labels, see `spans`.
    lower: a word is known by its lower-case letters; its characters stay as they are.
    digits: a word is known with 0 for every digit.
    width: C; of a longer word its middle is left out.
    format: of the files, in which labels are written too.
  """

  words: tuple[str, ...]
  singles: int
  characters: tuple[str, ...]
  labels: tuple[str, ...]
  scheme: str
  lower: bool = True
  digits: bool = True
  width: int = 20
  format: str = COLUMNS

  @classmethod
  def build(cls, sentences: Sequence[Sentence], **options) -> "Lexicon":
    """Numbers what sentences hold: give it the training part only.

    Args:
      sentences: with their labels.
      **options: the other attributes.
    """
    shape = cls((), 0, (), (), "", **{n: options[n] for n in options if n != "scheme"})
    words = collections.Counter(shape.form(w) for s in sentences for w in s.words)
    letters = collections.Counter(c for s in sentences for w in s.words for c in w)
    labels = collections.Counter(label for s in sentences for label in s.labels)
    words.pop(UNKNOWN, None)
    rows = _by_count(words)
    return cls(
      words=(UNKNOWN, *rows),
      singles=1 + sum(words[word] > 1 for word in rows),
      characters=("", UNKNOWN, *_by_count(letters)),
      labels=tuple(sorted(labels)),
      **options,
    )

  def form(self, word: str) -> str:
    """A word as it is looked up."""
    word = word.lower() if self.lower else word
    return re.sub(r"\d", "0", word) if self.digits else word

  def knows(self, word: str) -> bool:
    """Whether training had the word, in this form."""
    return self.form(word) in self._words

  def read(self, words: Sequence[str]) -> Words:
    """The words of one sentence: int32 `[T]` and `[T, C]`."""
    numbers = [self._words.get(self.form(word), 0) for word in words]
    letters = np.zeros((len(words), self.width), np.int32)
    for row, word in zip(letters, words):
      if len(word) > self.width:
        after = self.width // 2
        word = word[: self.width - after] + word[len(word) - after :]
      row[: len(word)] = [self._characters.get(c, 1) for c in word]
    return Words(np.array(numbers, np.int32), letters)

  def numbers(self, labels: Sequence[str]) -> NDArray[np.int32]:
    """The numbers of labels, `[T]`; -1 for one that training has not."""
    return np.array([self._labels.get(label, -1) for label in labels], np.int32)

  @property
  def sizes(self) -> "Sizes":
    """What a model needs to know."""
    chosen = spans.allowed(self.labels, self.scheme)
    allowed = tuple(map(tuple, chosen.tolist())) if not chosen.all() else ()
    counts = (len(self.words), self.singles, len(self.characters), self.width)
    return Sizes(*counts, len(self.labels), allowed)

  def to_json(self) -> str:
    """The lexicon as a JSON object in ASCII."""
    return json.dumps(asdict(self)) + "\n"

  @classmethod
  def from_json(cls, text: str, where: str = "lexicon.json") -> "Lexicon":
    """The lexicon of `to_json`.

    Raises:
      BadInput: this is not what `to_json` writes; `where` is the file to name.
    """
    try:
      fields = json.loads(text)
      lists = ("words", "characters", "labels")
      found = cls(**fields | {name: tuple(fields[name]) for name in lists})
      texts = [*found.words, *found.characters, *found.labels, found.scheme]
      right = all(isinstance(each, str) for each in texts)
      right &= isinstance(found.singles, int) and isinstance(found.width, int)
      right &= found.scheme in (*spans.TARGETS, spans.PLAIN)
      right &= found.format in (COLUMNS, CONLLU)
    except (ValueError, TypeError, KeyError, RecursionError):
      right = False
    if not right:
      raise BadInput(f"{where} is not the lexicon of a tagger: restore it")
    return found

  @functools.cached_property
  def _words(self) -> dict[str, int]:
    return {word: number for number, word in enumerate(self.words) if number}

  @functools.cached_property
  def _characters(self) -> dict[str, int]:
    return {c: number for number, c in enumerate(self.characters) if number > 1}

  @functools.cached_property
  def _labels(self) -> dict[str, int]:
    return {label: number for number, label in enumerate(self.labels)}


class Sizes(NamedTuple):
  """How much a lexicon holds.

  Attributes:
    words: V.
    singles: the first word of training that it has only once.
    characters: how many.
    width: C, the characters of a word that are read.
    labels: N.
    allowed: which label may follow which, N + 1 rows, see `spans.allowed`; () if any.
  """

  words: int
  singles: int
  characters: int
  width: int
  labels: int
  allowed: tuple[tuple[bool, ...], ...] = ()


def batches(
  lexicon: Lexicon, sentences: Sequence[Sentence]
) -> Callable[[NDArray[np.integer], int], Examples]:
  """Makes `(rows [B], T) -> Examples` of `Words`, for `buckets.Buckets`.

  A label that the lexicon has not is 0, of weight 0; so are all of sentences that have
  no labels.
  """
  read = [lexicon.read(sentence.words) for sentence in sentences]
  words, characters = [r.words for r in read], [r.characters for r in read]
  labels = [
    lexicon.numbers(s.labels or ("",) * len(s.words)).astype(np.int32)
    for s in sentences
  ]

  def make(rows: NDArray[np.integer], steps: int) -> Examples:
    inputs = Words(padded(words, rows, steps)[0], padded(characters, rows, steps)[0])
    targets, valid = padded(labels, rows, steps)
    weight = (valid & (targets >= 0)).astype(np.float32)
    return Examples(inputs, np.maximum(targets, 0), weight, valid)

  return make


def digest(parts: Mapping[str, Sequence[Sentence]]) -> str:
  """The sha256 of the words and labels of all parts."""
  found = hashlib.sha256()
  for name, sentences in parts.items():
    rows = [(sentence.words, sentence.labels) for sentence in sentences]
    found.update(json.dumps([name, rows]).encode())
  return found.hexdigest()


def _by_count(counts: Mapping[str, int]) -> list[str]:
  """From frequent to rare; of equal counts by name."""
  return sorted(counts, key=lambda name: (-counts[name], name))
