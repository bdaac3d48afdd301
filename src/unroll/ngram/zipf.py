"""Zipf's law: the frequency of the r-th most frequent thing falls as a power of r."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

RANKS = 200  # that a fit looks at


class Zipf(NamedTuple):
  """frequency = scale / rank ** exponent."""

  exponent: float
  scale: float


def fit(frequencies: ArrayLike) -> Zipf:
  """The line through logarithms of frequency and rank, by least squares.

  The ranks are spread evenly by their logarithms: of all ranks, nearly all are those of
  the rarest, which would decide alone.

  Args:
    frequencies: above 0, in any order.

  Raises:
    ValueError: there are fewer than two.
  """
  ordered = np.sort(np.asarray(frequencies, np.float64))[::-1]
  if ordered.size < 2:
    raise ValueError(f"frequencies: a line needs 2 or more, not {ordered.size}")
  ranks = np.unique(np.geomspace(1, ordered.size, RANKS).round().astype(np.int64))
  slope, offset = np.polyfit(np.log(ranks), np.log(ordered[ranks - 1]), 1)
  return Zipf(-float(slope), math.exp(offset))
