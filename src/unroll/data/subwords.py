"""Subwords: tokenizers learned from a training text, and those of a tokenizer.json.

The learning is that of the library `tokenizers`, the extra `text` of this package.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll import specs
from unroll.data import text as text_lib
from unroll.data.vocabulary import UNKNOWN, Vocabulary
from unroll.types import BadInput

KINDS = ("bpe", "unigram")
LEAST = 257  # tokens: the bytes, and one that is more
# Where a text may be cut without another token: the pattern of byte-level tokenizers
# never joins a lone line break to what stands after it.
_CUT = re.compile(r"(?<=\S\n)(?=\S)")
_PIECE = 2**16  # characters
_TEXTS = 1024  # short texts encoded at once
_TOGETHER = 64  # pieces encoded at once: each token takes some 100 bytes meanwhile


@dataclasses.dataclass(frozen=True)
class Subwords(Vocabulary):
  """The tokens of a subword tokenizer, with the face of every other vocabulary.

  Attributes:
    model: the tokenizer as the JSON of the library `tokenizers`.
  """

  model: str = ""

  def __post_init__(self) -> None:
    text_lib.normalize("", self.normalize)
    _ = self._tokenizer  # to refuse what is none

  @classmethod
  def of(cls, tokenizer: str, normalize: str, model: str) -> "Subwords":
    """The vocabulary of a tokenizer.

    Args:
      tokenizer: what it is called.
      normalize: a name in `text.NORMALIZERS`.
      model: its JSON.
    """
    own = _parsed(model, tokenizer)
    tokens = (own.id_to_token(i) or f"<{i}>" for i in range(own.get_vocab_size()))
    return cls(tokenizer, normalize, tuple(tokens), model)

  @property
  def unknown(self) -> int | None:
    """The id of the unknown token; None where bytes make every text known."""
    model = json.loads(self.model)["model"]
    if isinstance(model.get("unk_id"), int):
      return model["unk_id"]
    return self._tokenizer.token_to_id(model.get("unk_token") or UNKNOWN)

  def encode(self, text: str) -> NDArray[np.int32]:
    """The ids of a text, normalised first: int32 `[tokens]`."""
    text = text_lib.normalize(text, self.normalize)
    whole = self.tokenizer.partition(":")[0] not in KINDS
    pieces = [text] if whole else _pieces(text)
    found = [np.zeros(0, np.int32)]
    for first in range(0, len(pieces), _TOGETHER):
      some = pieces[first : first + _TOGETHER]
      encoded = self._tokenizer.encode_batch_fast(some, add_special_tokens=False)
      found += [np.array(piece.ids, np.int32) for piece in encoded]
    return np.concatenate(found)

  def decode(self, ids: ArrayLike) -> str:
    """The text of ids `[tokens]`; bytes that are not UTF-8 come out as U+FFFD."""
    ids = np.asarray(ids)
    if ids.size and not (0 <= ids.min() and ids.max() < len(self)):
      raise ValueError(
        f"ids from {ids.min()} to {ids.max()} do not fit a vocabulary of {len(self)}"
      )
    return self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)

  def split_each(self, texts: Sequence[str]) -> list[list[str]]:
    """The tokens of each text, normalised first: many texts at once."""
    texts = [text_lib.normalize(text, self.normalize) for text in texts]
    found = []
    for first in range(0, len(texts), _TEXTS):
      some = texts[first : first + _TEXTS]
      encoded = self._tokenizer.encode_batch_fast(some, add_special_tokens=False)
      found += [[self.tokens[number] for number in each.ids] for each in encoded]
    return found

  def join(self, tokens: Iterable[str]) -> str:
    """The text of tokens; bytes that are not UTF-8 come out as U+FFFD."""
    decoder = self._tokenizer.decoder
    return decoder.decode(list(tokens)) if decoder else " ".join(tokens)

  def adding(self, reserved: Sequence[str]) -> "Subwords":
    """The vocabulary with tokens after its own, which no text is ever split into.

    Args:
      reserved: such as `<bos>`.
    """
    if not reserved:
      return self
    own = _parsed(self.model, self.tokenizer)
    own.add_special_tokens(list(reserved))
    model = json.dumps(json.loads(own.to_str()))
    return Subwords.of(self.tokenizer, self.normalize, model)

  def to_json(self) -> str:
    """The vocabulary as a JSON object in ASCII."""
    fields = {"tokenizer": self.tokenizer, "normalize": self.normalize}
    return json.dumps({**fields, "model": json.loads(self.model)})

  @classmethod
  def from_json(cls, data: str, where: str = "vocab.json") -> "Subwords":
    """The vocabulary of `to_json`; it must be one of subwords."""
    match json.loads(data):
      case {"tokenizer": str(name), "normalize": str(form), "model": dict(model)}:
        try:
          return cls.of(name, form, json.dumps(model))
        except BadInput as error:
          raise BadInput(f"{where}: {error}") from None
    raise BadInput(f"{where} is not a vocabulary of subwords: restore it")

  @functools.cached_property
  def _tokenizer(self) -> Any:
    own = _parsed(self.model, self.tokenizer)
    # Learned ones are of letters only: a text that spells a reserved token is text.
    own.encode_special_tokens = self.tokenizer.partition(":")[0] in KINDS
    return own


def is_subwords(tokenizer: str) -> bool:
  """Whether a name is that of subwords: `bpe:N`, `unigram:N` or a JSON file."""
  return tokenizer.partition(":")[0] in KINDS or tokenizer.endswith(".json")


def build(text: str, tokenizer: str, normalize: str = "none") -> Subwords:
  """A subword tokenizer, learned from a text or read from a file.

  All that is learned stands on bytes, so that every text comes back as it was:

  - `bpe:N`: pairs of tokens joined in turn until there are N tokens (Sennrich et al.
    2016), on bytes (Radford et al. 2019).
  - `unigram:N`: the N pieces whose language model says the text best (Kudo 2018).

  Args:
    text: the training text alone.
    tokenizer: one of these, or the path of a tokenizer.json.
    normalize: a name in `text.NORMALIZERS`, applied before.

  Raises:
    BadInput: N is too small, the file cannot be read, or `tokenizers` is missing.
  """
  if tokenizer.endswith(".json"):
    try:
      model = Path(tokenizer).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
      raise BadInput(f"tokenizer={tokenizer} cannot be read ({error})") from None
    return Subwords.of(tokenizer, normalize, model)
  match specs.split(tokenizer, int):
    case "bpe" | "unigram" as kind, (size,) if LEAST <= size < 2**31:
      return _learned(text_lib.normalize(text, normalize), kind, size, normalize)
  raise BadInput(
    f"tokenizer={tokenizer}: give bpe:N or unigram:N with at least {LEAST} tokens, "
    "such as bpe:4000"
  )


def _learned(text: str, kind: str, size: int, normalize: str) -> Subwords:
  library = _library()
  bytes_ = library.pre_tokenizers.ByteLevel.alphabet()
  options: dict[str, Any] = {"show_progress": False, "initial_alphabet": bytes_}
  if kind == "bpe":
    own = library.Tokenizer(library.models.BPE())
    trainer = library.trainers.BpeTrainer(vocab_size=size, **options)
  else:
    own = library.Tokenizer(library.models.Unigram())
    trainer = library.trainers.UnigramTrainer(vocab_size=size, **options)
  own.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
  own.decoder = library.decoders.ByteLevel()
  own.train_from_iterator(_pieces(text), trainer)
  model = json.loads(own.to_str())
  if kind == "unigram":
    model["model"]["vocab"] = _settled(model["model"]["vocab"])
  return Subwords.of(f"{kind}:{size}", normalize, json.dumps(model))


def _settled(pieces: list[Any]) -> list[Any]:
  """The pieces of a unigram model as they are whatever the order of its sums.

  The last digits of their scores differ each time. So does the order of those that are
  put back after pruning, each 0.0001 below the one before: they are ordered by name.
  """
  scores = {token: round(score, 9) for token, score in pieces}
  order = sorted(scores, key=lambda token: (-scores[token], token))
  gaps = -np.diff([scores[token] for token in order])
  start = int(np.flatnonzero(np.append(True, gaps > 1.5e-4))[-1])
  put_back = [scores[token] for token in order[start:]]
  ordered = zip(sorted(order[start:]), put_back)
  return [[token, scores[token]] for token in order[:start]] + list(map(list, ordered))


def _pieces(text: str) -> list[str]:
  """A text in pieces whose tokens are those of the whole."""
  pieces, start = [], 0
  while len(text) - start > _PIECE:
    cut = _CUT.search(text, start + _PIECE)
    if cut is None:
      break
    pieces.append(text[start : cut.start()])
    start = cut.start()
  return [*pieces, text[start:]]


def _parsed(model: str, name: str) -> Any:
  try:
    return _library().Tokenizer.from_str(model)
  except Exception as error:  # the library raises nothing narrower
    raise BadInput(
      f"tokenizer={name} is not the JSON of a tokenizer ({error}): restore it"
    ) from None


def _library() -> Any:
  try:
    import tokenizers
    import tokenizers.decoders
    import tokenizers.models
    import tokenizers.pre_tokenizers
    import tokenizers.trainers
  except ImportError:
    raise BadInput(
      "subwords need the library tokenizers: pip install 'unroll[text]'"
    ) from None
  return tokenizers
