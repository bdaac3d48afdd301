"""Speech as a decoder learns to write it down: labels one after another, and an end."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.examples import Examples
from unroll.data.forcing import Sampling
from unroll.data.speech.reader import BLANK, Shape


class Sizes(NamedTuple):
  """What a model needs to know.

  Attributes:
    features: D, of a step.
    target: V: the classes and `<bos>`.
    bos: the token that a decoder reads first, beside the classes.
    eos: the token that ends what is said; it has the class of the blank.
  """

  features: int
  target: int
  bos: int
  eos: int = BLANK

  @classmethod
  def of(cls, shape: Shape) -> "Sizes":
    """Those of the classes of a reader."""
    return cls(shape.features, shape.classes + 1, shape.classes)


class Sounds(NamedTuple):
  """What a model hears.

  Attributes:
    steps: float32 `[S, B, D]`.
    valid: bool `[S, B]`, False at padding.
    sampling: what is read before each target; None: the true token.
  """

  steps: NDArray[np.float32]
  valid: NDArray[np.bool_]
  sampling: Sampling | None = None


def heard(batch: Examples) -> Sounds:
  """The sounds alone of utterances as `reader.batch` makes them."""
  assert batch.valid is not None
  return Sounds(batch.inputs, batch.valid)


def dictated(batch: Examples) -> Examples:
  """Utterances as `reader.batch` makes them, for a decoder: `Examples` of `Sounds`.

  The targets are int32 `[T, B]`, each with `<eos>` last, and `valid` is of them.
  """
  given = heard(batch)
  # None in a column of padding, which has no sound either.
  ends = (batch.weight > 0).sum(0) + given.valid.any(0)
  real = np.arange(len(batch.targets) + 1)[:, None] < ends
  targets = np.pad(batch.targets, ((0, 1), (0, 0)), constant_values=BLANK)
  return Examples(given, targets, real.astype(np.float32), real)
