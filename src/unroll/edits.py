"""How far one sequence is from another: insertions, deletions and replacements."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def edit_distance(one: Sequence[Any], other: Sequence[Any]) -> int:
  """Insertions, deletions and replacements from one sequence to the other, the least.

  Levenshtein 1966, row by row.
  """
  ids: dict[Any, int] = {}
  numbers = np.array([ids.setdefault(each, len(ids)) for each in other], int)
  places = np.arange(len(other) + 1)
  row = places
  for size, each in enumerate(one, 1):
    kept = row[:-1] + (numbers != ids.get(each, -1))
    best = np.append(size, np.minimum(row[1:] + 1, kept))
    # An insertion costs 1 more than what stands before: a running minimum.
    row = np.minimum.accumulate(best - places) + places
  return int(row[-1])


def error_rate(
  found: Sequence[Sequence[Any]], wanted: Sequence[Sequence[Any]]
) -> float:
  """Edits from what was found to what was wanted, by the tokens wanted, at least 1.

  The label error rate (Graves et al. 2006), of all sequences together.

  Raises:
    ValueError: not as many of both.
  """
  edits = sum(edit_distance(a, b) for a, b in zip(found, wanted, strict=True))
  return edits / max(sum(map(len, wanted)), 1)
