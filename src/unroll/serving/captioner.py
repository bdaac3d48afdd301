"""A captioner: what it writes of pictures, and how likely it finds sentences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll import captioning
from unroll.data.captions import Reader, pictures
from unroll.models.built import Built
from unroll.score import Scores
from unroll.serving.conditional import scores
from unroll.serving.value import Functions
from unroll.types import BadInput, Params
from unroll.writing import Beam, Hypothesis


def functions(built: Built) -> Functions:
  """What a captioner answers of pictures, uint8 `[N, side, side, 3]`.

  `generate(params, images, *, longest=100, beams=1, best=1, length_penalty=0,
  coverage_penalty=0)`: the `writing.Hypothesis`es of each picture, the best first, of
  up to `longest` tokens; see `beam.search`.

  `score(params, images, captions)`: the log-probability of a sentence about each
  picture, and its tokens, with the one that ends it.
  """
  reader, module = Reader.from_files(built.files), built.module

  def check(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    images, side = np.asarray(images), reader.side
    if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
      raise BadInput(
        f"images is {images.dtype}{list(images.shape)}: give uint8 [N, {side}, "
        f"{side}, 3]"
      )
    return images

  def generate(
    params: Params, images: NDArray[np.uint8], *, longest: int = 100, **how: Any
  ) -> list[list[Hypothesis]]:
    own = check(images)
    return captioning.writer(module, reader, own, longest, Beam(**how))(params)

  def score(
    params: Params, images: NDArray[np.uint8], captions: Sequence[str]
  ) -> Scores:
    own = check(images)
    if len(own) != len(captions):
      raise BadInput(
        f"there are {len(own)} images and {len(captions)} captions: pair them"
      )
    return scores(
      module,
      params,
      [1] * len(own),
      lambda rows, steps: pictures(own, rows),
      reader.write(captions),
    )

  return Functions(generate=generate, score=score)
