"""What a truncation scheme is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from unroll.types import Array, Carry, Params, Sums

# Any pytree of time-major arrays [T, B, ...].
Batch = Any
# (params, carry, batch) -> (mean loss, (carry, sums)); sums.count is what the mean
# divided by.
ChunkLoss = Callable[[Params, Carry, Batch], tuple[Array, tuple[Carry, Sums]]]
# The role of jax.value_and_grad(loss, has_aux=True).
Estimator = Callable[
  [Params, Carry, Batch], tuple[tuple[Array, tuple[Carry, Sums]], Params]
]


class Scheme(NamedTuple):
  """How the gradient through time is taken, and the chunks that this asks for.

  Attributes:
    estimator: makes an estimator of a chunk loss. No gradient flows into the carry
      that comes in: state passes from chunk to chunk, blame does not.
    length: new steps in each chunk; None takes whatever sequence there is.
    overlap: steps before them that the gradient also reaches, already scored.
    lengths: `(generator, total) -> lengths` where each chunk's is drawn; the drawn
      lengths cover `total` steps and none exceeds `length`. None: all are `length`.
    rate: `batch -> factor` on the learning rate.
  """

  estimator: Callable[[ChunkLoss], Estimator]
  length: int | None = None
  overlap: int = 0
  lengths: Callable[[np.random.Generator, int], np.ndarray] | None = None
  rate: Callable[[Batch], Array | float] = lambda batch: 1.0


def steps(batch: Batch, start: int, stop: int) -> Batch:
  """The steps `start` to `stop` of a time-major batch."""
  return jax.tree.map(lambda leaf: leaf[start:stop], batch)


def duration(batch: Batch) -> int:
  """T."""
  return len(jax.tree.leaves(batch)[0])
