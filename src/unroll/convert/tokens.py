"""The tokens of another model, in the order of its numbers, as a vocabulary of ours."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data import tokens
from unroll.data.text import read_lines
from unroll.data.vocabulary import BYTES, UNKNOWN, Vocabulary
from unroll.types import BadInput

# What others call a token that stands for those that are not known.
UNKNOWNS = (UNKNOWN, "<UNK>", "[UNK]", "<oov>", "<OOV>", "xxunk")


def read(data: bytes, where: str) -> Vocabulary | list[str]:
  """The tokens in a file: a vocabulary of ours, or the tokens by their numbers.

  Args:
    data: a run's vocab.json; a JSON list of tokens; a JSON object of their numbers; or
      a token a line.
    where: what to call the file.

  Raises:
    BadInput: it is none of these.
  """
  try:
    held = json.loads(data)
  except (ValueError, RecursionError):
    return read_lines(data, where)
  if isinstance(held, dict) and "tokenizer" in held:
    return tokens.from_json(data.decode(), where)
  if isinstance(held, dict):
    numbers, last = list(held.values()), len(held) - 1
    whole = all(type(number) is int for number in numbers)
    if not whole or sorted(numbers) != list(range(last + 1)):
      raise BadInput(f"{where} must have each of the numbers 0 to {last} once")
    held = sorted(held, key=held.__getitem__)
  if not isinstance(held, list) or not all(isinstance(t, str) and t for t in held):
    raise BadInput(f"{where} must hold a list of tokens, or an object of their numbers")
  return held


def numbered(
  found: Vocabulary | Sequence[str], tokenizer: str, normalize: str = "none"
) -> tuple[Vocabulary, NDArray[np.int64]]:
  """A vocabulary of tokens, and the number that each token had.

  Ours begin with `<unk>`: that of others moves there, whatever they call it, and where
  they have none it is new.

  Args:
    found: what `read` has found.
    tokenizer: how a text becomes such tokens, a name in `data.text.TOKENIZERS`; a
      vocabulary of ours has its own.
    normalize: what is done before, a name in `data.text.NORMALIZERS`.

  Returns:
    The vocabulary; for each of its tokens the number it had, -1 for a new one.

  Raises:
    BadInput: a token is there twice, or no token of that tokenizer.
  """
  if isinstance(found, Vocabulary):
    return found, np.arange(len(found))
  if tokenizer == "byte":
    return Vocabulary("byte", normalize, BYTES), np.arange(256)
  unknown = next((i for i, token in enumerate(found) if token in UNKNOWNS), -1)
  rows: list[Any] = [unknown, *(i for i in range(len(found)) if i != unknown)]
  names = (UNKNOWN, *(found[i] for i in rows[1:]))
  if tokenizer == "char" and (longer := [t for t in names[1:] if len(t) > 1]):
    raise BadInput(
      f"tokenizer=char: {longer[0]!r} is no character: give a tokenizer such as "
      "whitespace or word"
    )
  return Vocabulary(tokenizer, normalize, names), np.array(rows)
