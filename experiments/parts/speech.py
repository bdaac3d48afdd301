"""Speech as settings choose it: read or joined, checked, in batches."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import ALL
from unroll.data.buckets import Buckets
from unroll.data.classes.audio import Mel
from unroll.data.examples import Examples
from unroll.data.speech import Utterances, strings, table
from unroll.data.speech.reader import UNITS, Reader, batch
from unroll.settings import setting
from unroll.types import BadInput

ROWS = 64  # sounds of mean length side by side in an evaluation
KEPT = 10  # one utterance in so many validates, where no file does
FSDD = "fsdd"
JUDGED = {"val": 300, "test": 500}  # strings of fsdd


@dataclass(frozen=True)
class Speech:
  """Speech"""

  data: str = setting(
    FSDD,
    f"what to learn from: {FSDD}, strings of spoken digits; or a .csv or .tsv file "
    "with the columns file, of WAVE files, and text",
    kind="path",
    role="data",
  )
  val: str = setting(
    "",
    f"such a file to validate on; empty: one in {KEPT} utterances of data",
    kind="path",
    role="data",
  )
  test: str = setting("", "such a file to test on", kind="path", role="data")
  units: str = setting("word", "what a label is", choices=tuple(UNITS))
  rate: int = setting(8000, "samples a second that sounds are brought to", least=1000)
  bands: int = setting(40, "bands of the mel spectrogram", least=1, most=1000)
  stack: int = setting(3, "frames, of 10 ms each, that make a step", least=1, most=1000)
  strings: int = setting(10_000, f"training strings of {FSDD}", least=1)
  min_digits: int = setting(3, f"digits of a string of {FSDD}, at the least", least=1)
  max_digits: int = setting(7, f"digits of a string of {FSDD}, at the most", least=1)
  mixed: bool = setting(False, f"each digit of a string of {FSDD} is said by anybody")
  gap: float = setting(
    0.2, f"the longest silence between digits of {FSDD}, in seconds", least=0
  )
  noise: float = setting(
    0.0, f"white noise in strings of {FSDD}, as a part of their loudness", least=0
  )
  buckets: int = setting(
    4, "lengths that sounds are padded to, a program each", least=1
  )


class Data(NamedTuple):
  """What there is to learn from.

  Attributes:
    settings: what chose it.
    reader: of the training part.
    parts: the utterances of "train", "val" and, where there is one, "test".
    numbers: the classes of their labels.
    sequence: of each part, the number of an utterance -> its steps.
  """

  settings: Speech
  reader: Reader
  parts: Mapping[str, Utterances]
  numbers: Mapping[str, list[NDArray[np.int32]]]
  sequence: Mapping[str, Callable[[int], NDArray[np.float32]]]

  def training(self, batch: int, seed: int, columns: slice = ALL) -> Buckets[Examples]:
    """Batches of the training part in random order."""
    return self._batches("train", batch, seed=seed, columns=columns)

  def evaluation(self, part: str) -> Buckets[Examples]:
    """Every utterance of a part, by length."""
    return self._batches(part, ROWS, shuffle=False)

  @property
  def longest(self) -> int:
    """The steps of the longest utterance."""
    return max(int(self.reader.steps(p.samples).max()) for p in self.parts.values())

  @property
  def sha256(self) -> str:
    """The digest of all that a model learns from."""
    digests = {part: own.digest for part, own in self.parts.items()}
    return hashlib.sha256(str(digests).encode()).hexdigest()

  def _batches(self, part: str, size: int, **options) -> Buckets[Examples]:
    own, width = self.parts[part], self.reader.shape.features

    def make(rows: NDArray[np.int64], steps: int) -> Examples:
      return batch(self.sequence[part], self.numbers[part], rows, steps, width)

    return Buckets(
      self.reader.steps(own.samples),
      make,
      size,
      buckets=self.settings.buckets,
      digest=own.digest,
      **options,
    )


def load(settings: Speech, known: Reader | None = None, *, paths: bool = True) -> Data:
  """Reads, checks and numbers what the settings name.

  Args:
    settings: which, and how.
    known: the reader of a run that is there; None makes one of the training part.
    paths: training goes along paths with a step or more for each label (CTC).

  Raises:
    BadInput: a file is faulty, or the settings do not fit one another.
  """
  parts = _digits(settings) if settings.data == FSDD else _tables(settings)
  if known is None:
    # Frames of 32 ms, a power of two at the usual rates, every 10 ms.
    hop, window = round(settings.rate * 0.01), 2 * round(settings.rate * 0.016)
    mel = Mel(settings.rate, window, hop, settings.bands)
    known = Reader.build(parts["train"], settings.units, mel, settings.stack)
  numbers = {
    part: [known.numbers(*both) for both in zip(own.labels, own.places)]
    for part, own in parts.items()
  }
  if paths:
    _check_lengths(known, parts["train"], numbers["train"])
  return Data(settings, known, parts, numbers, _sequences(settings, known, parts))


def _digits(settings: Speech) -> dict[str, Utterances]:
  """Strings of fsdd, of other recordings in each part."""
  if settings.val or settings.test:
    raise BadInput(
      f"`val` and `test` are of files, and data={FSDD} has parts of its own"
    )
  if settings.min_digits > settings.max_digits:
    raise BadInput(
      f"min_digits={settings.min_digits} is more than max_digits="
      f"{settings.max_digits}: give fewer"
    )
  if settings.units != "word":
    raise BadInput(f"units={settings.units}: a digit of {FSDD} is a word; leave it out")
  joined = strings.Joined(
    settings.min_digits,
    settings.max_digits,
    settings.mixed,
    settings.gap,
    settings.noise,
  )
  counts = {"train": settings.strings} | JUDGED
  own = strings.recordings(settings.rate)
  return {
    part: strings.strings(own[part], joined, settings.rate, count, seed)
    for seed, (part, count) in enumerate(counts.items())
  }


def _tables(settings: Speech) -> dict[str, Utterances]:
  if not Path(settings.data).suffix:
    raise BadInput(
      f"data={settings.data} is not {FSDD} and no .csv or .tsv file: give one of them"
    )
  files = {"train": settings.data, "val": settings.val, "test": settings.test}
  found = {
    part: table.read(Path(file), settings.units, settings.rate)
    for part, file in files.items()
    if file
  }
  if "val" not in found:
    count = len(found["train"].labels)
    rows = range(KEPT - 1, count, KEPT)
    if not rows:
      raise BadInput(
        f"{settings.data} has {count} utterances, too few to keep one in {KEPT} for "
        "validation: give `val`"
      )
    rest = [row for row in range(count) if row not in rows]
    found |= {"train": found["train"].some(rest), "val": found["train"].some(rows)}
  return found


def _check_lengths(
  reader: Reader, train: Utterances, numbers: list[NDArray[np.int32]]
) -> None:
  """Refuses a training sound that has too few steps for its labels."""
  for steps, own, place in zip(reader.steps(train.samples), numbers, train.places):
    least = len(own) + int((own[1:] == own[:-1]).sum())
    if steps < least:
      raise BadInput(
        f"{place}: its sound has {steps} steps and its {len(own)} labels need {least}: "
        f"lower stack={reader.stack}, or take it out"
      )


def _sequences(settings: Speech, reader: Reader, parts: Mapping[str, Utterances]):
  """The steps of utterances; those that are met again and again are kept."""

  def of(own: Utterances) -> Callable[[int], NDArray[np.float32]]:
    return lambda number: reader.sequence(own.sound(number))

  drawn = settings.data == FSDD
  return {
    part: of(own) if drawn and part == "train" else functools.cache(of(own))
    for part, own in parts.items()
  }
