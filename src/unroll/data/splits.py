"""A corpus cut into training, validation and test text."""

import decimal
import itertools
import re
from collections.abc import Mapping

from unroll.data import text as text_lib
from unroll.data.corpora import WHOLE, Corpus
from unroll.types import BadInput

NAMES = ("train", "val", "test")
DEFAULT = "0.9,0.1"


def split(corpus: Corpus, spec: str = "", normalize: str = "none") -> Mapping[str, str]:
  """Normalises a corpus, then cuts it.

  Args:
    corpus: what `corpora.load` returns.
    spec: "" for the official split, or the default one where there is none; two or
      three fractions of the text in order, "0.8,0.1,0.1"; or two or three ranges of
      normalised characters, "0:10032,10000:15032", which may overlap.
    normalize: a name in `text.NORMALIZERS`.

  Returns:
    The text of "train", "val" and, where there is one, "test".

  Raises:
    BadInput: the spec is none of these, or does not fit the corpus.
  """
  texts = {
    name: text_lib.normalize(text, normalize) for name, text in corpus.texts.items()
  }
  if WHOLE not in texts:
    if spec:
      raise BadInput(
        f"split={spec}: {corpus.name} has a split of its own; leave `split` empty, "
        "or give one of its files by path"
      )
    return texts
  text = texts[WHOLE]
  parts = (spec or DEFAULT).split(",")
  if not 2 <= len(parts) <= len(NAMES):
    raise BadInput(f"split={spec} has {len(parts)} parts; it takes train,val[,test]")
  cut = _ranges if ":" in spec else by_fractions
  edges = cut(parts, len(text), spec)
  return {name: text[slice(*edge)] for name, edge in zip(NAMES, edges)}


def by_fractions(parts: list[str], size: int, spec: str) -> list[tuple[int, int]]:
  """Where the parts of `size` things in order start and stop, by their fractions.

  Args:
    parts: the fractions, as they are written.
    size: how many there are.
    spec: the whole of what was written, to name in `BadInput`.
  """
  try:  # decimal, because 0.7 + 0.2 + 0.1 of a float is less than 1
    fractions = [decimal.Decimal(part) for part in parts]
    if not all(0 < f < 1 for f in fractions) or sum(fractions) > 1:
      raise decimal.InvalidOperation
  except decimal.InvalidOperation:
    raise BadInput(
      f"split={spec}: fractions must lie between 0 and 1 and add up to at most 1, "
      f"such as split={DEFAULT}"
    ) from None
  cuts = [int(size * sum(fractions[:i])) for i in range(len(fractions) + 1)]
  return list(itertools.pairwise(cuts))


def _ranges(parts: list[str], size: int, spec: str) -> list[tuple[int, int]]:
  edges = []
  for part in parts:
    match = re.fullmatch("([0-9]{1,15}):([0-9]{1,15})", part)
    start, stop = map(int, match.groups()) if match else (0, 0)
    if not start < stop <= size:
      raise BadInput(
        f"split={spec}: {part!r} is not a range start:stop of characters with "
        f"0 <= start < stop <= {size}, the length of the normalised text"
      )
    edges.append((start, stop))
  return edges
