"""How far estimated gradients are from the true one: bias, variance, direction."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Bias(NamedTuple):
  """Of gradients that an estimator draws, against the true one G.

  Attributes:
    cosine: of the angle between a gradient and G, in the mean of the draws.
    bias: |E g - G| / |G|; of what is drawn the share of chance in the mean is taken
      out, so that it may be 0.
    deviation: √(E |g - E g|²) / |G|; 0 of what draws nothing.
  """

  cosine: float
  bias: float
  deviation: float


def bias(drawn: ArrayLike, true: ArrayLike) -> Bias:
  """The bias of gradients `[draws, P]` against the true one `[P]`.

  A gradient that is zero has cosine 1 with a true one that is zero, else 0.
  """
  found, g = np.asarray(drawn, np.float64), np.asarray(true, np.float64)
  size = np.linalg.norm(g)
  lengths = np.linalg.norm(found, axis=1) * size
  cosines = np.divide(found @ g, lengths, out=np.zeros(len(found)), where=lengths > 0)
  if size == 0:
    cosines[np.linalg.norm(found, axis=1) == 0] = 1
  mean = found.mean(axis=0)
  variance = 0.0
  if len(found) > 1:
    variance = np.sum((found - mean) ** 2) / (len(found) - 1)
  squared = np.sum((mean - g) ** 2) - variance / len(found)
  scale = size if size > 0 else 1.0
  return Bias(
    float(cosines.mean()),
    float(np.sqrt(max(squared, 0.0)) / scale),
    float(np.sqrt(variance) / scale),
  )
