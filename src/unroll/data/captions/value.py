"""Pictures with the sentences that tell what is in them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Captioned(NamedTuple):
  """N pictures of one size, with a sentence or more each.

  Attributes:
    images: uint8 `[N, height, width, 3]`, red, green, blue.
    captions: of each picture, at least one.
  """

  images: NDArray[np.uint8]
  captions: Sequence[tuple[str, ...]]

  def some(self, rows: NDArray[np.integer]) -> "Captioned":
    """Those of some rows."""
    return Captioned(self.images[rows], [self.captions[row] for row in rows.tolist()])


def digest(parts: Mapping[str, Captioned]) -> str:
  """The sha256 of pictures and sentences of all parts."""
  found = hashlib.sha256()
  for name, part in parts.items():
    about = [name, part.images.shape, list(map(list, part.captions))]
    found.update(json.dumps(about).encode())
    found.update(np.ascontiguousarray(part.images).data)
  return found.hexdigest()
