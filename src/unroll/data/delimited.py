"""Texts between `<bos>` and `<eos>`, as a decoder reads and writes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from unroll.data import text as text_lib
from unroll.data import tokens
from unroll.data.subwords import is_subwords
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

BOS, EOS = "<bos>", text_lib.EOS


def learned(
  texts: Sequence[str],
  tokenizer: str,
  normalize: str = "none",
  *,
  min_count: int = 1,
  reserved: tuple[str, ...] = (BOS, EOS),
) -> Vocabulary:
  """The vocabulary of texts: give it those of the training part only.

  Args:
    texts: one after another.
    tokenizer: see `tokens.build`; not "byte" and no file, which have no `<bos>`.
    normalize: a name in `text.NORMALIZERS`.
    min_count: a token that is rarer becomes `<unk>`.
    reserved: those of `<bos>` and `<eos>` that it must have.

  Raises:
    BadInput: there is no such tokenizer, or it does not fit.
  """
  if tokenizer == "byte" or tokenizer.endswith(".json"):
    raise BadInput(
      f"tokenizer={tokenizer} has no room for {BOS} and {EOS}: use char, word, "
      "joined, whitespace, bpe:N or unigram:N"
    )
  # Between subwords a line break, as the first word of a text has no space before.
  between = {"char": ""}.get(tokenizer, "\n" if is_subwords(tokenizer) else " ")
  return tokens.build(
    between.join(texts), tokenizer, normalize, min_count=min_count, reserved=reserved
  )


def lower(vocabulary: Vocabulary) -> bool:
  """Whether its texts are in lower case, so that upper case cannot be judged."""
  return text_lib.normalize("A", vocabulary.normalize) == "a"


def spelled(vocabulary: Vocabulary) -> dict[str, int]:
  """The number of each token that a text may hold: `<bos>` and `<eos>` are unknown."""
  ids = {token: number for number, token in enumerate(vocabulary.tokens)}
  return ids | dict.fromkeys((BOS, EOS), 0)


def words(ids: ArrayLike, names: Sequence[str], bos: int, eos: int) -> list[str]:
  """The tokens of numbers `[T]`, up to the first `<eos>` and without `<bos>`.

  Args:
    ids: the numbers.
    names: the token of each number.
    bos: the number of `<bos>`.
    eos: that of `<eos>`.

  Raises:
    ValueError: a number that there is not.
  """
  found = []
  for number in np.asarray(ids).tolist():
    if not 0 <= number < len(names):
      raise ValueError(f"{number} does not fit the {len(names)} tokens of a target")
    if number == eos:
      break
    if number != bos:
      found.append(names[number])
  return found
