"""What a translator knows: two vocabularies, and how texts become numbers and back."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.data import delimited, tokens
from unroll.data.delimited import BOS, EOS
from unroll.data.pairs.files import Pair
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

PAIRS = "pairs.json"  # what accompanies a run


class Sizes(NamedTuple):
  """What a model needs to know.

  Attributes:
    source: tokens of the source vocabulary.
    target: V, tokens of the target vocabulary.
    bos: the target token that a decoder reads first.
    eos: the target token that ends each target.
    joint: both sides have one vocabulary.
  """

  source: int
  target: int
  bos: int
  eos: int
  joint: bool = False


class Source(NamedTuple):
  """A source text as a model reads it, S tokens.

  Attributes:
    tokens: int32 `[S]`, of the source vocabulary.
    copies: int32 `[S]`, what a copy of each puts out: the number of the same token in
      the target vocabulary of V tokens, or V + k where it is `new[k]`.
    pieces: the tokens as texts, `[S]`.
    new: the different tokens that the target vocabulary has not, in the order read.
  """

  tokens: NDArray[np.int32]
  copies: NDArray[np.int32]
  pieces: tuple[str, ...]
  new: tuple[str, ...]


@dataclass(frozen=True)
class Reader:
  """How pairs of texts become numbers: what accompanies a run.

  A text that spells `<bos>` or `<eos>` has an unknown word there, or the letters of it,
  and never these tokens.

  Attributes:
    source: the vocabulary of sources.
    target: the vocabulary of targets, with `<bos>` and `<eos>`; where it is joint, the
      same one.
    reverse: sources are read from their last token to their first (Sutskever et al.
      2014).
    end: sources end with `<eos>` too, after their tokens as they are read.
    copy: a target has V + k for `Source.new[k]` of its source, and not `<unk>`.
  """

  source: Vocabulary
  target: Vocabulary
  reverse: bool = False
  end: bool = False
  copy: bool = False

  @classmethod
  def build(
    cls,
    pairs: Sequence[Pair],
    tokenizer: str,
    normalize: str = "none",
    *,
    min_count: int = 1,
    joint: bool = False,
    reverse: bool = False,
    end: bool = False,
    copy: bool = False,
  ) -> "Reader":
    """Learns the vocabularies of pairs: give it the training part only.

    Args:
      pairs: texts.
      tokenizer: see `delimited.learned`.
      normalize: a name in `text.NORMALIZERS`.
      min_count: a token that is rarer becomes `<unk>`.
      joint: one vocabulary, learned from both sides.
      reverse: see `Reader`, as the others.

    Raises:
      BadInput: there is no such tokenizer, or it does not fit.
    """

    def learned(texts: Sequence[str], reserved: tuple[str, ...]) -> Vocabulary:
      return delimited.learned(
        texts, tokenizer, normalize, min_count=min_count, reserved=reserved
      )

    sources, targets = [p.source for p in pairs], [p.target for p in pairs]
    if joint:
      both = learned(sources + targets, (BOS, EOS))
      return cls(both, both, reverse, end, copy)
    own = learned(sources, (EOS,) if end else ())
    return cls(own, learned(targets, (BOS, EOS)), reverse, end, copy)

  @functools.cached_property
  def sizes(self) -> Sizes:
    """How many tokens there are, and which of them begin and end a target."""
    bos, eos = (self.target.tokens.index(token) for token in (BOS, EOS))
    joint = self.source == self.target
    return Sizes(len(self.source), len(self.target), bos, eos, joint)

  @property
  def lower(self) -> bool:
    """Whether targets are in lower case, so that upper case cannot be judged."""
    return delimited.lower(self.target)

  def read(self, texts: Sequence[str]) -> list[Source]:
    """Source texts as a model reads them; an empty one has no token but `end`."""
    return [self._read(pieces) for pieces in self.source.split_each(texts)]

  def write(
    self, texts: Sequence[str], sources: Sequence[Source]
  ) -> list[NDArray[np.int32]]:
    """Target texts as a model learns to write them, int32 `[T]`, with `<eos>` last.

    Args:
      texts: the targets.
      sources: of `read`, as many: with `copy` a target has numbers of their new tokens.
    """
    found = []
    size, eos, known = self.sizes.target, self.sizes.eos, self._targets
    for pieces, source in zip(self.target.split_each(texts), sources, strict=True):
      new = {t: size + k for k, t in enumerate(source.new)} if self.copy else {}
      ids = (known.get(piece, new.get(piece, 0)) for piece in pieces)
      found.append(np.array([*ids, eos], np.int32))
    return found

  def unknown(self, source: Source) -> list[str]:
    """The different tokens of a source that are unknown, in the order read."""
    known = self._sources
    return list(dict.fromkeys(p for p in source.pieces if p not in known))

  def text(self, ids: ArrayLike, source: Source | None = None) -> str:
    """The text of target numbers, `[T]`, up to the first `<eos>` and without `<bos>`.

    Args:
      ids: below V, or V + k for `source.new[k]`.
      source: what was read; None if no number is V or more.

    Raises:
      ValueError: a number that there is not.
    """
    names = (*self.target.tokens, *(source.new if source else ()))
    pieces = delimited.words(ids, names, self.sizes.bos, self.sizes.eos)
    return self.target.join(pieces)

  def files(self) -> dict[str, str]:
    """The texts to keep with a run."""
    own = {name: getattr(self, name) for name in ("reverse", "end", "copy")}
    joint = self.source == self.target
    sides = {
      "source": None if joint else json.loads(self.source.to_json()),
      "target": json.loads(self.target.to_json()),
    }
    return {PAIRS: json.dumps({**own, **sides}) + "\n"}

  @classmethod
  def from_files(cls, files: Mapping[str, str]) -> "Reader":
    """The reader of `files`.

    Raises:
      BadInput: there is none, or it is damaged.
    """
    if PAIRS not in files:
      raise BadInput(f"{PAIRS} is missing: restore it")
    try:
      fields = json.loads(files[PAIRS])
    except (ValueError, RecursionError):
      fields = None
    match fields:
      case {
        "reverse": bool(),
        "end": bool(),
        "copy": bool(),
        "source": dict() | None,
        "target": dict(),
      } if len(fields) == 5:
        target = tokens.from_json(json.dumps(fields["target"]), PAIRS)
        source = fields["source"] and tokens.from_json(
          json.dumps(fields["source"]), PAIRS
        )
        if {BOS, EOS} <= set(target.tokens):
          return cls(**{**fields, "source": source or target, "target": target})
    raise BadInput(f"{PAIRS} is not what a translator knows: restore it")

  def _read(self, pieces: Sequence[str]) -> Source:
    if self.reverse:
      pieces = pieces[::-1]
    ids = [self._sources.get(piece, 0) for piece in pieces]
    size, known, new = self.sizes.target, self._targets, dict[str, int]()
    copies = [
      known[piece] if piece in known else new.setdefault(piece, size + len(new))
      for piece in pieces
    ]
    if self.end:
      ids.append(self.source.tokens.index(EOS))
      copies.append(self.sizes.eos)
      pieces = (*pieces, EOS)
    arrays = np.array(ids, np.int32), np.array(copies, np.int32)
    return Source(*arrays, tuple(pieces), tuple(new))

  @functools.cached_property
  def _sources(self) -> Mapping[str, int]:
    return delimited.spelled(self.source)

  @functools.cached_property
  def _targets(self) -> Mapping[str, int]:
    return delimited.spelled(self.target)
