"""What a captioner knows: a vocabulary, and the size of its pictures."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.data import delimited, tokens
from unroll.data.delimited import BOS, EOS
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

CAPTIONS = "captions.json"  # what accompanies a run


class Sizes(NamedTuple):
  """What a model needs to know.

  Attributes:
    side: pixels of each side of a picture.
    target: V, tokens of the vocabulary.
    bos: the token that a decoder reads first.
    eos: the token that ends each sentence.
  """

  side: int
  target: int
  bos: int
  eos: int


@dataclass(frozen=True)
class Reader:
  """How sentences become numbers, and pictures arrays: what accompanies a run.

  Attributes:
    vocabulary: with `<bos>` and `<eos>`, which a sentence that spells them has not.
    side: pixels of each side of a picture.
  """

  vocabulary: Vocabulary
  side: int

  @classmethod
  def build(
    cls,
    captions: Sequence[str],
    side: int,
    tokenizer: str = "word",
    normalize: str = "none",
    *,
    min_count: int = 1,
  ) -> "Reader":
    """Learns the vocabulary of sentences: give it those of the training part only.

    Args:
      captions: the sentences.
      side: see `Reader`.
      tokenizer: see `delimited.learned`.
      normalize: a name in `text.NORMALIZERS`.
      min_count: a token that is rarer becomes `<unk>`.

    Raises:
      BadInput: there is no such tokenizer, or it does not fit.
    """
    vocabulary = delimited.learned(captions, tokenizer, normalize, min_count=min_count)
    return cls(vocabulary, side)

  @functools.cached_property
  def sizes(self) -> Sizes:
    """What a model needs to know."""
    bos, eos = (self.vocabulary.tokens.index(token) for token in (BOS, EOS))
    return Sizes(self.side, len(self.vocabulary), bos, eos)

  @property
  def lower(self) -> bool:
    """Whether sentences are in lower case, so that upper case cannot be judged."""
    return delimited.lower(self.vocabulary)

  def write(self, captions: Sequence[str]) -> list[NDArray[np.int32]]:
    """Sentences as a model learns to write them, int32 `[T]`, with `<eos>` last."""
    known, eos = self._known, self.sizes.eos
    return [
      np.array([*(known.get(piece, 0) for piece in pieces), eos], np.int32)
      for pieces in self.split(captions)
    ]

  def split(self, captions: Sequence[str]) -> list[tuple[str, ...]]:
    """The tokens of each sentence, normalised first."""
    return [tuple(pieces) for pieces in self.vocabulary.split_each(captions)]

  def text(self, ids: ArrayLike) -> str:
    """The sentence of numbers `[T]`, up to the first `<eos>` and without `<bos>`."""
    return self.vocabulary.join(self.words(ids))

  def words(self, ids: ArrayLike) -> list[str]:
    """The tokens of numbers `[T]`, up to the first `<eos>` and without `<bos>`."""
    names = self.vocabulary.tokens
    return delimited.words(ids, names, self.sizes.bos, self.sizes.eos)

  def files(self) -> dict[str, str]:
    """The texts to keep with a run."""
    vocabulary = json.loads(self.vocabulary.to_json())
    return {CAPTIONS: json.dumps({"side": self.side, "vocabulary": vocabulary}) + "\n"}

  @classmethod
  def from_files(cls, files: Mapping[str, str]) -> "Reader":
    """The reader of `files`.

    Raises:
      BadInput: there is none, or it is damaged.
    """
    if CAPTIONS not in files:
      raise BadInput(f"{CAPTIONS} is missing: restore it")
    try:
      fields = json.loads(files[CAPTIONS])
    except (ValueError, RecursionError):
      fields = None
    match fields:
      case {"side": int(side), "vocabulary": dict(own)} if (
        len(fields) == 2 and side > 0
      ):
        vocabulary = tokens.from_json(json.dumps(own), CAPTIONS)
        if {BOS, EOS} <= set(vocabulary.tokens):
          return cls(vocabulary, side)
    raise BadInput(f"{CAPTIONS} is not what a captioner knows: restore it")

  @functools.cached_property
  def _known(self) -> Mapping[str, int]:
    """The number of each token that a sentence may hold."""
    return delimited.spelled(self.vocabulary)
