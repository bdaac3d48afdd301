"""Pictures and sentences that tell what is in them: made or read, numbered."""

from unroll.data.captions.batches import Pictures, captioned, pictures
from unroll.data.captions.reader import CAPTIONS, Reader, Sizes
from unroll.data.captions.value import Captioned, digest

__all__ = [
  "CAPTIONS",
  "Captioned",
  "Pictures",
  "Reader",
  "Sizes",
  "captioned",
  "digest",
  "pictures",
]
