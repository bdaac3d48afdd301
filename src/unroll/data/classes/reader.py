"""How things with a label become sequences: a run of a classifier keeps it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data import tokens
from unroll.data.classes import audio
from unroll.data.vocabulary import VOCABULARY, Vocabulary
from unroll.types import BadInput

EXAMPLES = "examples.json"  # what accompanies a run


class Shape(NamedTuple):
  """The sizes of what a classifier reads and tells apart.

  Attributes:
    classes: C.
    vocabulary: V, of tokens; 0 where inputs are features.
    features: D, of features.
  """

  classes: int
  vocabulary: int = 0
  features: int = 0


class Reader(NamedTuple):
  """How a thing becomes a sequence: what accompanies a run.

  Attributes:
    classes: the labels, in order.
    vocabulary: of texts; None for features.
    mean: of each feature over the training steps, `[D]`; () for texts.
    scale: the deviation of each feature; 1 where it is constant.
    mel: how sounds become features; None where there are none.
    longest: steps that are read; 0: all.
  """

  classes: tuple[str, ...]
  vocabulary: Vocabulary | None
  mean: tuple[float, ...]
  scale: tuple[float, ...]
  mel: audio.Mel | None
  longest: int

  def sequences(self, things: Sequence[Any]) -> list[NDArray]:
    """int32 tokens `[T]` of texts, float32 `[T, D]` of features, scaled."""
    if self.vocabulary is not None:
      found = [self.vocabulary.encode(thing) for thing in things]
    else:
      mean, scale = np.array([self.mean, self.scale], np.float32)
      found = [(thing - mean) / scale for thing in things]
    return [row[: self.longest] for row in found] if self.longest else found

  @property
  def shape(self) -> Shape:
    """What a model needs to know."""
    tokens = 0 if self.vocabulary is None else len(self.vocabulary)
    return Shape(len(self.classes), tokens, len(self.mean))

  def files(self) -> dict[str, str]:
    """The texts to keep with a run."""
    own = self._asdict() | {"mel": self.mel and self.mel._asdict(), "vocabulary": None}
    found = {EXAMPLES: json.dumps({**own, "shape": self.shape._asdict()}) + "\n"}
    if self.vocabulary is not None:
      found[VOCABULARY] = self.vocabulary.to_json()
    return found

  @classmethod
  def from_files(cls, files: Mapping[str, str]) -> "Reader":
    """The reader of a run.

    Raises:
      BadInput: a file is missing, or damaged.
    """
    if EXAMPLES not in files:
      raise BadInput(f"{EXAMPLES} is missing: restore it")
    try:
      own = json.loads(files[EXAMPLES])
      reads_tokens = own.pop("shape")["vocabulary"] > 0
      own["mel"] = own["mel"] and audio.Mel(**own["mel"])
      own |= {name: tuple(own[name]) for name in ("classes", "mean", "scale")}
      found = cls(**own)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
      raise BadInput(f"{EXAMPLES} is damaged ({error}): restore it") from None
    if not reads_tokens:
      return found
    if VOCABULARY not in files:
      raise BadInput(f"{VOCABULARY} is missing: restore it")
    return found._replace(vocabulary=tokens.from_json(files[VOCABULARY]))
