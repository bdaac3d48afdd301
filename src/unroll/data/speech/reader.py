"""How sounds become steps and labels become classes, and back: a run keeps it."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.classes import audio
from unroll.data.classes.audio import Mel
from unroll.data.examples import Examples
from unroll.data.speech.value import Utterances
from unroll.types import BadInput

BLANK = 0
SOUNDS = 200  # of the training part, whose features say what is usual


class Unit(NamedTuple):
  """What a label is: how a text is taken apart into labels, and put together."""

  split: Callable[[str], tuple[str, ...]]
  between: str


UNITS = {
  "word": Unit(lambda text: tuple(text.split()), " "),
  "char": Unit(lambda text: tuple(" ".join(text.split())), ""),
}


class Shape(NamedTuple):
  """The sizes of what a transcriber reads and writes.

  Attributes:
    features: D, of a step.
    classes: C, the labels and the blank.
  """

  features: int
  classes: int


class Reader(NamedTuple):
  """How a sound becomes a sequence, and labels become classes.

  Attributes:
    labels: in order; that of class 1 first, as class 0 is the blank.
    units: what a label is, of `UNITS`.
    mel: how a sound becomes frames.
    stack: frames side by side in a step; the next step has the frames after those.
    mean: of each band over training frames.
    scale: the deviation of each band; 1 where it is constant.
  """

  labels: tuple[str, ...]
  units: str
  mel: Mel
  stack: int
  mean: tuple[float, ...]
  scale: tuple[float, ...]

  @classmethod
  def build(cls, train: Utterances, units: str, mel: Mel, stack: int) -> "Reader":
    """The reader of a training part.

    Raises:
      BadInput: there is no label in it.
    """
    labels = tuple(sorted({label for own in train.labels for label in own}))
    if not labels:
      raise BadInput(
        f"none of the {len(train.labels)} training utterances has a text: say what "
        "some of them say"
      )
    some = range(min(SOUNDS, len(train.labels)))
    frames = np.concatenate([audio.spectrogram(train.sound(n), mel) for n in some])
    scale = frames.std(0, dtype=np.float64)
    return cls(
      labels,
      units,
      mel,
      stack,
      tuple(frames.mean(0, np.float64).tolist()),
      tuple(np.where(scale > 1e-8, scale, 1).tolist()),
    )

  @property
  def shape(self) -> Shape:
    """What a model needs to know."""
    return Shape(self.mel.bands * self.stack, len(self.labels) + 1)

  @property
  def seconds(self) -> float:
    """From one step to the next."""
    return self.stack * self.mel.hop / self.mel.rate

  def steps(self, samples: NDArray[np.integer]) -> NDArray[np.int64]:
    """How many steps sounds of so many samples have."""
    frames = np.asarray(samples, np.int64) // self.mel.hop + 1
    return -(-frames // self.stack)

  def sequence(self, sound: NDArray[np.floating]) -> NDArray[np.float32]:
    """The steps of a sound, float32 `[T, D]`; mean frames fill up the last."""
    mean, scale = np.array([self.mean, self.scale], np.float32)
    frames = (audio.spectrogram(sound, self.mel) - mean) / scale
    frames = np.pad(frames, ((0, -len(frames) % self.stack), (0, 0)))
    return frames.reshape(-1, self.mel.bands * self.stack)

  def numbers(self, labels: Sequence[str], place: str) -> NDArray[np.int32]:
    """The classes of labels.

    Raises:
      BadInput: training has not one of them.
    """
    known = {label: number for number, label in enumerate(self.labels, 1)}
    for label in labels:
      if label not in known:
        shown = ", ".join(map(repr, self.labels[:8])) + " …" * (len(self.labels) > 8)
        raise BadInput(
          f"{place}: no training utterance has the label {label!r}, only {shown}: "
          "take it out, or train on it"
        )
    return np.array([known[label] for label in labels], np.int32)

  def text(self, numbers: Sequence[int]) -> str:
    """The labels of classes as a text."""
    return UNITS[self.units].between.join(self.labels[n - 1] for n in numbers)

  def to_json(self) -> str:
    """The reader as a text to keep with a run."""
    own: dict[str, Any] = self._asdict() | {"mel": self.mel._asdict()}
    return json.dumps(own) + "\n"

  @classmethod
  def from_json(cls, text: str, where: str = "speech.json") -> "Reader":
    """The reader of a run.

    Raises:
      BadInput: the text is of none.
    """
    try:
      own = json.loads(text)
      own["mel"] = Mel(**own["mel"])
      own |= {name: tuple(own[name]) for name in ("labels", "mean", "scale")}
      return cls(**own)
    except (ValueError, TypeError, KeyError) as error:
      raise BadInput(f"{where} is damaged ({error}): restore it") from None


def batch(
  sequences: Callable[[int], NDArray[np.float32]],
  labels: Sequence[NDArray[np.int32]],
  rows: NDArray[np.integer],
  steps: int,
  features: int,
) -> Examples:
  """Some utterances side by side; the targets are `[L, B]`, labels first.

  Args:
    sequences: the number of an utterance -> its steps `[T_i, D]`.
    labels: the classes of each utterance; L is the most that one has.
    rows: which of them, `[B]`; -1 is a column of padding.
    steps: T.
    features: D.
  """
  most = max(map(len, labels), default=0)
  inputs = np.zeros((steps, len(rows), features), np.float32)
  targets = np.zeros((most, len(rows)), np.int32)
  valid, counts = (
    np.zeros((steps, len(rows)), bool),
    np.zeros(targets.shape, np.float32),
  )
  for column, row in enumerate(rows.tolist()):
    if row >= 0:
      sequence, own = sequences(row), labels[row]
      inputs[: len(sequence), column] = sequence
      valid[: len(sequence), column] = True
      targets[: len(own), column] = own
      counts[: len(own), column] = 1
  return Examples(inputs, targets, counts, valid)
