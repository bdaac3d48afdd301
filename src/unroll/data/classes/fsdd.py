"""The Free Spoken Digit Dataset: 3,000 recordings of six speakers, pinned."""

import hashlib
from pathlib import Path

from unroll.data import cache
from unroll.types import BadInput

SHA256 = "a2e8a660492f28d9eed6270b290d26cbc5c81d6077ce87d3c0ad5adf4d4ee696"


def recordings() -> dict[str, list[Path]]:
  """The files of each part, DIGIT_SPEAKER_INDEX.wav in order of their names.

  Recordings 0 to 4 of each speaker and digit are "test", 5 to 9 "val".

  Raises:
    BadInput: they are not there, or others.
  """
  root = cache.root() / "fsdd" / "recordings"
  files = sorted(root.glob("*.wav"))
  digest = hashlib.sha256()
  for file in files:
    content = hashlib.sha256(file.read_bytes()).digest()
    digest.update(file.name.encode() + b"\0" + content)
  if digest.hexdigest() != SHA256:
    raise BadInput(
      f"{root} does not hold the 3,000 recordings of fsdd: put there those of "
      "https://github.com/Jakobovski/free-spoken-digit-dataset at "
      "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
    )
  found: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
  for file in files:
    index = int(file.stem.rsplit("_", 1)[1])
    found["test" if index < 5 else "val" if index < 10 else "train"].append(file)
  return found
