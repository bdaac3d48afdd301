"""Counts in a file of NumPy's, of which any model can be made again."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from unroll import files
from unroll.data import archive
from unroll.errors import BadInput, sentence
from unroll.ngram.counts import Counts
from unroll.ngram.trie import Trie

NAME = "counts.npz"  # in a run's folder


def write(counts: Counts, path: Path) -> None:
  """Writes counts; the file appears whole.

  It has `size`, `counts_K` of each order K, and `keys_K` of those above 1, as `Trie`
  and `Counts` describe them.

  Raises:
    OSError: the file cannot be written.
  """
  arrays: dict[str, Any] = {"size": np.int64(counts.trie.size)}
  arrays |= {f"counts_{k}": values for k, values in enumerate(counts.counts, 1)}
  arrays |= {f"keys_{k}": values for k, values in enumerate(counts.trie.keys, 2)}
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  files.write(path, buffer.getvalue())


def read(path: Path) -> Counts:
  """Reads what `write` wrote.

  Raises:
    BadInput: there is no such file, or it is damaged.
  """
  restore = "restore it, or train again, which writes it anew"
  try:
    with open(path, "rb") as file, np.load(file) as arrays:
      order = sum(name.startswith("counts_") for name in arrays.files)
      counts = tuple(arrays[f"counts_{k}"] for k in range(1, order + 1))
      keys = tuple(arrays[f"keys_{k}"] for k in range(2, order + 1))
      trie = Trie(int(arrays["size"]), keys)
  except archive.BROKEN:
    raise BadInput(f"{path} is damaged: {restore}") from None
  except OSError as error:
    raise BadInput(f"{path} cannot be read ({sentence(error)}): {restore}") from None
  sizes = [trie.count(k) for k in range(1, order + 1)]
  if not order or sizes != [values.size for values in counts]:
    raise BadInput(f"{path} does not hold the counts of n-grams: {restore}")
  return Counts(trie, counts)
