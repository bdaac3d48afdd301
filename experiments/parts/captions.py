"""Captioned pictures as settings choose them: made or read, split, in batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data import captions
from unroll.data import text as text_lib
from unroll.data.batches import ALL
from unroll.data.buckets import Buckets
from unroll.data.captions import Captioned, Reader, folder, scenes
from unroll.data.captions.scenes import HELD_OUT, OBJECTS
from unroll.data.examples import Examples
from unroll.settings import setting
from unroll.types import BadInput

ROWS = 128  # sentences of mean length side by side in an evaluation
VALIDATED = 500  # made pictures to validate on, and as many to test
SUFFIXES = (".png", ".jpg", ".jpeg")
SEED = 0  # of made pictures: a run's own seed is of its order and its model


@dataclass(frozen=True)
class Captions:
  """Captioned pictures"""

  data: str = setting(
    "",
    "a folder of PNG or JPEG pictures; empty: scenes of coloured shapes",
    kind="path",
    role="data",
  )
  captions: str = setting(
    "",
    "a CSV or TSV file with a row for each sentence about a picture of data",
    kind="path",
    role="data",
  )
  image_column: str = setting("image", "the column of captions that names a picture")
  caption_column: str = setting("caption", "the column of captions with the sentences")
  split: str = setting(
    "",
    f"train,val[,test] as fractions of the pictures of data; empty: {folder.SPLIT}",
  )
  size: int = setting(
    32, "pixels of each side that pictures have or are brought to", least=8, most=1024
  )
  scenes: int = setting(8000, "scenes of coloured shapes to train on", least=1)
  objects: int = setting(OBJECTS, "the most shapes of a scene", least=1, most=OBJECTS)
  held_out: str = setting(
    "objects",
    "what only scenes of a further part have, held_out: none; objects, some shapes in "
    "some colours; relations, how some shapes lie from some others",
    choices=HELD_OUT,
  )
  tokenizer: str = setting(
    "word",
    "what a token is: char, word, joined (words and marks that join without loss), "
    "whitespace, bpe:N or unigram:N",
  )
  normalize: str = setting(
    "lower", "what is done to sentences before", choices=sorted(text_lib.NORMALIZERS)
  )
  min_count: int = setting(1, "rarer tokens become <unk>", least=1)
  buckets: int = setting(
    4, "lengths that sentences are padded to, a program each", least=1
  )


class Data(NamedTuple):
  """What there is to learn from.

  Attributes:
    settings: what chose it.
    reader: how sentences become numbers.
    parts: the pictures of "train", "val" and, where there are such, "test" and
      "held_out".
    targets: of each part, the sentences of each picture as a model writes them.
  """

  settings: Captions
  reader: Reader
  parts: Mapping[str, Captioned]
  targets: Mapping[str, list[list[NDArray]]]

  def training(self, batch: int, seed: int, columns: slice = ALL) -> Buckets[Examples]:
    """Batches of the training part in random order."""
    return self._batches("train", batch, seed=seed, columns=columns)

  def evaluation(self, part: str) -> Buckets[Examples]:
    """Every sentence of a part, by length."""
    return self._batches(part, ROWS, shuffle=False)

  def wanted(self, part: str) -> list[list[tuple[str, ...]]]:
    """The tokens of the sentences of each picture of a part."""
    return [self.reader.split(own) for own in self.parts[part].captions]

  @property
  def sha256(self) -> str:
    """The digest of all that a model learns from."""
    return captions.digest(self.parts)

  def _batches(self, part: str, batch: int, **options) -> Buckets[Examples]:
    own = self.parts[part]
    return captions.captioned(
      own,
      self.targets[part],
      batch,
      buckets=self.settings.buckets,
      digest=captions.digest({part: own}),
      **options,
    )


def exact(settings: Captions) -> bool:
  """Whether a picture has one right sentence, being made."""
  return not settings.data


def seen(reader: Reader, files: Sequence[Path]) -> NDArray[np.uint8]:
  """Some pictures as a model reads them, `[N, side, side, 3]`.

  Raises:
    BadInput: one cannot be read.
  """
  own = [folder.read(file, reader.side) for file in files]
  return np.stack(own) if own else np.zeros((0, 0, 0, 3), np.uint8)


def load(settings: Captions, known: Reader | None = None) -> Data:
  """Makes or reads the pictures that the settings name, and numbers their sentences.

  Args:
    settings: which, and how.
    known: the reader of a run that is there; None makes one of the training part.

  Raises:
    BadInput: a file is faulty, or the settings do not fit one another.
  """
  parts = _read(settings) if settings.data else _made(settings)
  reader = known or Reader.build(
    [text for texts in parts["train"].captions for text in texts],
    settings.size,
    settings.tokenizer,
    settings.normalize,
    min_count=settings.min_count,
  )
  targets = {
    name: [reader.write(texts) for texts in own.captions] for name, own in parts.items()
  }
  return Data(settings, reader, parts, targets)


def _made(settings: Captions) -> Mapping[str, Captioned]:
  _unused(
    settings,
    ("captions", "image_column", "caption_column", "split"),
    "is of pictures in a folder, and `data` names none",
  )
  counts = (settings.scenes, VALIDATED, VALIDATED)
  return scenes.parts(counts, settings.size, settings.objects, settings.held_out, SEED)


def _read(settings: Captions) -> Mapping[str, Captioned]:
  _unused(
    settings,
    ("scenes", "objects", "held_out"),
    f"is of scenes that are made, and data={settings.data} holds pictures",
  )
  if not settings.captions:
    raise BadInput(
      f"data={settings.data} holds pictures, and `captions` names no file that says "
      "what is in them: give one"
    )
  return folder.load(
    Path(settings.data).expanduser(),
    Path(settings.captions).expanduser(),
    settings.image_column,
    settings.caption_column,
    settings.size,
    settings.split,
  )


def _unused(settings: Captions, names: tuple[str, ...], why: str) -> None:
  """Refuses settings that would change nothing."""
  for name in names:
    if getattr(settings, name) != getattr(Captions, name):
      raise BadInput(f"{name}={getattr(settings, name)} {why}: leave it out")
