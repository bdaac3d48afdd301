"""The labelled sets that have a name: public files, pinned."""

import gzip
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data import cache
from unroll.data import text as text_lib
from unroll.data.cache import File, public
from unroll.data.classes import audio, fsdd, table
from unroll.data.classes.value import Labelled, Parts, split
from unroll.errors import guess
from unroll.types import BadInput

_LANGUAGES = (
  "Arabic Chinese Czech Dutch English French German Greek Irish Italian "
  "Japanese Korean Polish Portuguese Russian Scottish Spanish Vietnamese"
)
_NAMES = {name: public(f"names/{name}.txt") for name in _LANGUAGES.split()}


class Entry(NamedTuple):
  """A public set.

  Attributes:
    load: (the split that was asked for) -> its parts.
    licence: of the data, or what is known about it.
    tokenizer: of its texts; "" where it has none.
    note: what one should know.
  """

  load: Callable[[str], Parts]
  licence: str
  tokenizer: str
  note: str


def load(name: str, spec: str = "") -> Parts:
  """The parts of a set by its name.

  Args:
    name: one in `SETS`.
    spec: the fractions of a set that has no split of its own.

  Raises:
    BadInput: there is no such set, or it cannot be had.
  """
  if name not in SETS:
    raise BadInput(
      f"data={name} is neither a file, a folder nor one of {', '.join(SETS)}"
      f"{guess(name, SETS)}"
    )
  return SETS[name].load(spec)


def _sst2(spec: str) -> Parts:
  _refuse_split("sst2", spec)
  files = {
    "train": public("sst2/train.tsv"),
    "val": public("sst2/dev.tsv"),
    "test": public("sst2/test.tsv"),
  }
  return {
    part: _renamed(table.parse(cache.read(file), file.path, "1", "2"))
    for part, file in files.items()
  }


def _renamed(part: Labelled) -> Labelled:
  words = {"0": "negative", "1": "positive"}
  return part._replace(labels=[words[label] for label in part.labels])


def _rt_polarity(spec: str) -> Parts:
  files = {
    "positive": public("rt_polarity/rt-polarity.pos"),
    "negative": public("rt_polarity/rt-polarity.neg"),
  }
  # Line feeds alone: as Latin 1, its ellipsis of cp1252 would end a line.
  return split(_lines(files, lambda data: data.decode("cp1252").split("\n")), spec)


def _names(spec: str) -> Parts:
  return split(_lines(_NAMES, lambda data: text_lib.read_lines(data, "names")), spec)


def _lines(files: dict[str, File], read: Callable[[bytes], list[str]]) -> Labelled:
  """A thing a line, whose label is its file's."""
  texts, labels, places = [], [], []
  for label, file in files.items():
    for number, line in enumerate(read(cache.read(file)), 1):
      if line.strip():
        texts.append(line.strip())
        labels.append(label)
        places.append(f"{file.path}, line {number}")
  return Labelled(texts, labels, places)


def _mnist(view: Callable[[NDArray], NDArray]) -> Callable[[str], Parts]:
  """The images as sequences: `[N, 28, 28]` from 0 to 1 -> `[N, T, D]`."""

  def load(spec: str) -> Parts:
    _refuse_split("mnist", spec)
    train = _images("train", 60_000, view)
    return {
      "train": train.some(range(55_000)),
      "val": train.some(range(55_000, 60_000)),
      "test": _images("t10k", 10_000, view),
    }

  return load


def _images(part: str, size: int, view: Callable[[NDArray], NDArray]) -> Labelled:
  def read(name: str) -> bytes:
    return gzip.decompress(cache.read(public(f"mnist/{name}-ubyte.gz")))

  pixels = np.frombuffer(read(f"{part}-images-idx3"), np.uint8, offset=16)
  digits = np.frombuffer(read(f"{part}-labels-idx1"), np.uint8, offset=8)
  images = view(pixels.reshape(size, 28, 28).astype(np.float32) / 255)
  places = [f"mnist {part} {number}" for number in range(size)]
  return Labelled(list(images), [str(digit) for digit in digits], places)


def _permuted(images: NDArray) -> NDArray:
  order = np.random.default_rng(0).permutation(784)
  return images.reshape(-1, 784, 1)[:, order]


def _fsdd(spec: str) -> Parts:
  _refuse_split("fsdd", spec)
  return {
    part: Labelled(
      [audio.features(file, audio.Mel()) for file in some],
      [file.name[0] for file in some],
      [str(file) for file in some],
    )
    for part, some in fsdd.recordings().items()
  }


def _refuse_split(name: str, spec: str) -> None:
  if spec:
    raise BadInput(f"split={spec}: {name} has a split of its own; leave `split` empty")


_IMAGES = "CC BY-SA 3.0"
_DIGITS = "Handwritten digits (LeCun et al. 1998); the last 5,000 of training are val: "
SETS: dict[str, Entry] = {
  "sst2": Entry(
    _sst2,
    "not stated (Stanford Sentiment Treebank)",
    "whitespace",
    "Sentences of film reviews, positive or negative (Socher et al. 2013): whole "
    "sentences alone.",
  ),
  "rt_polarity": Entry(
    _rt_polarity,
    "not stated (Pang & Lee 2005)",
    "whitespace",
    "Sentences of film reviews, positive or negative, without official split.",
  ),
  "names": Entry(
    _names,
    "MIT",
    "char",
    "Surnames of 18 languages, without official split; many stand there several times, "
    "also in several languages.",
  ),
  "fsdd": Entry(
    _fsdd,
    "CC BY-SA 4.0",
    "",
    "Spoken digits of six speakers; recordings 0 to 4 of each are test, 5 to 9 val.",
  ),
  "mnist": Entry(
    _mnist(lambda images: images.reshape(-1, 784, 1)),
    _IMAGES,
    "",
    _DIGITS + "a pixel a step.",
  ),
  "mnist_permuted": Entry(
    _mnist(_permuted), _IMAGES, "", _DIGITS + "a pixel a step, in one random order."
  ),
  "mnist_rows": Entry(_mnist(lambda images: images), _IMAGES, "", _DIGITS + "28 rows."),
  "mnist_whole": Entry(
    _mnist(lambda images: images.reshape(-1, 1, 784)),
    _IMAGES,
    "",
    _DIGITS + "one step, all pixels.",
  ),
}
