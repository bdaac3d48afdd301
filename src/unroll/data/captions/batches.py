"""Captioned pictures side by side: what a captioner sees, and learns to write."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.buckets import Buckets
from unroll.data.captions.value import Captioned
from unroll.data.examples import Examples, padded
from unroll.data.forcing import Sampling


class Pictures(NamedTuple):
  """What a model sees.

  Attributes:
    images: uint8 `[1, B, height, width, 3]`, one a column; 0 in a column of padding.
    sampling: what is read before each target; None: the true token.
  """

  images: NDArray[np.uint8]
  sampling: Sampling | None = None


def pictures(images: NDArray[np.uint8], rows: NDArray[np.integer]) -> Pictures:
  """Some pictures side by side.

  Args:
    images: `[N, height, width, 3]`.
    rows: which of them, `[B]`; -1 is a column of padding.
  """
  real = (rows >= 0)[:, None, None, None]
  return Pictures(np.where(real, images[rows], np.uint8(0))[None])


def captioned(
  part: Captioned,
  targets: Sequence[Sequence[NDArray[np.int32]]],
  batch: int,
  **options: Any,
) -> Buckets[Examples]:
  """Batches of sentences of like length: `Examples` of `Pictures`.

  A picture is there once with each of its sentences. The targets are int32 `[T, B]`,
  each with `<eos>` last.

  Args:
    part: the pictures.
    targets: of each picture, those of `Reader.write`.
    batch: sentences in a batch of mean length.
    **options: of `Buckets`.
  """
  picture = np.repeat(np.arange(len(targets)), [len(own) for own in targets])
  sentences = [sentence for own in targets for sentence in own]

  def make(rows: NDArray[np.int64], steps: int) -> Examples:
    wanted, real = padded(sentences, rows, steps)
    seen = pictures(part.images, np.where(rows >= 0, picture[rows], -1))
    return Examples(seen, wanted, real.astype(np.float32), real)

  return Buckets([len(sentence) for sentence in sentences], make, batch, **options)
