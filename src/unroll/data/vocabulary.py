"""Tokens and their numbers."""

import collections
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.data import text as text_lib
from unroll.types import BadInput

UNKNOWN = "<unk>"
VOCABULARY = "vocab.json"  # what accompanies a run
BYTES = tuple(map(chr, range(256)))


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The tokens of a training text, numbered, and how a text becomes tokens.

  Attributes:
    tokenizer: a name in `text.TOKENIZERS`.
    normalize: a name in `text.NORMALIZERS`, applied before the tokenizer.
    tokens: all tokens by id. "byte" has the 256 bytes; every other tokenizer has
      `<unk>` at 0, the reserved tokens, then the rest from frequent to rare.
  """

  tokenizer: str
  normalize: str
  tokens: tuple[str, ...]

  def __post_init__(self) -> None:
    text_lib.tokenizer(self.tokenizer)
    text_lib.normalize("", self.normalize)
    if self.tokenizer == "byte":
      if self.tokens != BYTES:
        raise BadInput("the tokens of a byte vocabulary must be the 256 bytes in order")
    elif self.tokens[:1] != (UNKNOWN,):
      raise BadInput(f"token 0 of a {self.tokenizer} vocabulary must be {UNKNOWN}")
    if len(self._ids) < len(self.tokens):
      [(token, count)] = collections.Counter(self.tokens).most_common(1)
      raise BadInput(f"token {token!r} is {count} times in the vocabulary, not once")

  @classmethod
  def build(
    cls,
    text: str,
    tokenizer: str = "char",
    normalize: str = "none",
    *,
    min_count: int = 1,
    max_size: int | None = None,
    reserved: tuple[str, ...] = (),
  ) -> "Vocabulary":
    """Numbers the tokens of a text: give it the training split only.

    Args:
      text: the training text.
      tokenizer: a name in `text.TOKENIZERS`.
      normalize: a name in `text.NORMALIZERS`.
      min_count: a token that is rarer becomes `<unk>`.
      max_size: the most tokens in all, `<unk>` and reserved ones included.
      reserved: tokens to have in any case, such as `<bos>`.

    Raises:
      BadInput: an unknown name, or an option that the tokenizer cannot heed.
    """
    if tokenizer == "byte":
      if min_count > 1 or max_size is not None or reserved:
        raise BadInput(
          "byte has exactly 256 tokens: it takes no minimum count, no maximum size and "
          "no reserved tokens"
        )
      return cls(tokenizer, normalize, BYTES)
    first = (UNKNOWN, *reserved)
    if max_size is not None and max_size < len(first):
      raise BadInput(
        f"a vocabulary of at most {max_size} tokens cannot hold {', '.join(first)}; "
        f"allow at least {len(first)}"
      )
    split = text_lib.tokenizer(tokenizer).split
    counts = collections.Counter(split(text_lib.normalize(text, normalize)))
    seen = (t for t, n in counts.items() if n >= min_count and t not in first)
    rest = sorted(seen, key=lambda token: (-counts[token], token))
    return cls(tokenizer, normalize, (*first, *rest)[:max_size])

  def __len__(self) -> int:
    return len(self.tokens)

  @property
  def unknown(self) -> int | None:
    """The id of `<unk>`, None where no token can be unknown."""
    return None if self.tokenizer == "byte" else 0

  def encode(self, text: str) -> NDArray[np.int32]:
    """The ids of a text, normalised first: int32 `[tokens]`."""
    text = text_lib.normalize(text, self.normalize)
    tokens = text_lib.tokenizer(self.tokenizer).split(text)
    if not isinstance(tokens, str):
      ids = (self._ids.get(token, 0) for token in tokens)
      return np.fromiter(ids, np.int32, len(tokens))
    codes = np.frombuffer(tokens.encode("utf-32-le", "surrogatepass"), np.uint32)
    return self._table[np.minimum(codes, self._table.size - 1)]

  def decode(self, ids: ArrayLike) -> str:
    """The text of ids `[tokens]`.

    Bytes that are not UTF-8 come out as U+FFFD, words with one space between them.

    Raises:
      ValueError: an id is outside the vocabulary.
    """
    ids = np.asarray(ids)
    if ids.size and not (0 <= ids.min() and ids.max() < len(self)):
      raise ValueError(
        f"ids from {ids.min()} to {ids.max()} do not fit a vocabulary of {len(self)}"
      )
    return text_lib.tokenizer(self.tokenizer).join(self.tokens[i] for i in ids.tolist())

  def split_each(self, texts: Sequence[str]) -> list[list[str]]:
    """The tokens of each text, normalised first, those that are unknown too."""
    split = text_lib.tokenizer(self.tokenizer).split
    return [list(split(text_lib.normalize(text, self.normalize))) for text in texts]

  def join(self, tokens: Iterable[str]) -> str:
    """The text of tokens, of the vocabulary or not."""
    return text_lib.tokenizer(self.tokenizer).join(tokens)

  def to_json(self) -> str:
    """The vocabulary as a JSON object in ASCII."""
    return json.dumps(dataclasses.asdict(self))

  @classmethod
  def from_json(cls, data: str, where: str = "vocab.json") -> "Vocabulary":
    """The vocabulary of `to_json`.

    Args:
      data: the JSON.
      where: the file to name when something is wrong with it.

    Raises:
      BadInput: this is not what `to_json` writes.
    """
    try:
      fields = json.loads(data)
    except (ValueError, RecursionError) as error:
      raise BadInput(f"{where} is not JSON ({error}); restore it") from error
    match fields:
      case {"tokenizer": str(how), "normalize": str(form), "tokens": list(tokens)} if (
        len(fields) == 3 and all(isinstance(t, str) and t for t in tokens)
      ):
        try:
          return cls(how, form, tuple(tokens))
        except BadInput as error:
          raise BadInput(f"{where}: {error}") from error
    raise BadInput(
      f"{where} is not a vocabulary: it must be an object of tokenizer (string), "
      "normalize (string) and tokens (list of non-empty strings) and nothing else"
    )

  def digest(self) -> str:
    """The sha256 of the vocabulary, the same in every process."""
    return hashlib.sha256(self.to_json().encode()).hexdigest()

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    return {token: i for i, token in enumerate(self.tokens)}

  @functools.cached_property
  def _table(self) -> NDArray[np.int32]:
    """Code point to id; the last entry, for all code points beyond, is `<unk>`."""
    ids = {ord(token): i for token, i in self._ids.items() if len(token) == 1}
    table = np.zeros(max(ids, default=0) + 2, np.int32)
    table[list(ids)] = list(ids.values())
    return table
