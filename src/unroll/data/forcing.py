"""Scheduled sampling: how often training feeds a decoder the true token before."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll import specs
from unroll.data.batches import Source
from unroll.data.buckets import Buckets
from unroll.data.examples import Examples
from unroll.types import BadInput

FORMS: specs.Forms = {
  "constant": ("RATE",),
  "linear": ("START", "END", "STEPS"),
  "exponential": ("K",),
  "inverse_sigmoid": ("K",),
}
HELP = "a rate, as 0.5, or one that falls: " + ", ".join(
  f"{name}:{','.join(map(str, numbers))}"
  for name, numbers in FORMS.items()
  if name != "constant"
)
FED = ("likeliest", "drawn")


class Sampling(NamedTuple):
  """What a decoder reads in training before each of T targets.

  Attributes:
    forced: bool `[T, B]`, where it is the true token.
    uniform: float32 `[T, B]`, from 0 to 1: the token elsewhere is drawn from the
      decoder's distribution by this number; None: it is the likeliest one.
  """

  forced: NDArray[np.bool_]
  uniform: NDArray[np.float32] | None = None


class Sampled(Source[Examples]):
  """Batches of which a decoder is not fed every true token: they have a `Sampling`.

  It is drawn from the seed of the order and the step.

  Args:
    source: the batches; their inputs have the field `sampling`.
    spec: of `schedule`.
    drawn: whether tokens are drawn where the true ones are not fed.
  """

  def __init__(self, source: Buckets[Examples], spec: str, drawn: bool):
    self._source, self._spec, self._drawn = source, spec, drawn
    self._rate, self.rows = schedule(spec), source.rows

  def __len__(self) -> int:
    return len(self._source)

  def epoch(self, step: int) -> int:
    return self._source.epoch(step)

  def __getitem__(self, step: int) -> Examples:
    batch, part = self._source[step], self._source.part(step)
    shape = len(batch.targets), len(self._source.chosen(step))
    # Of another stream than the order of an epoch, which seed and epoch give.
    draw = np.random.default_rng((self._source.seed, step, 1))
    forced = draw.random(shape, np.float32) < self._rate(step)
    uniform = draw.random(shape, np.float32)[:, part] if self._drawn else None
    sampling = Sampling(forced[:, part], uniform)
    return batch._replace(inputs=batch.inputs._replace(sampling=sampling))

  def __repr__(self) -> str:
    return f"Sampled({self._source}, {self._spec}, {self._drawn})"


def sampled(
  source: Buckets[Examples], spec: str, fed: str = "likeliest"
) -> Source[Examples]:
  """Batches with a `Sampling`, or as they are where every true token is fed.

  Args:
    source: the batches; their inputs have the field `sampling`.
    spec: of `schedule`.
    fed: one of `FED`, what is read where the true token is not.

  Raises:
    BadInput: the spec is none, or always feeds the true token and `fed` is "drawn".
  """
  if not always(spec):
    return Sampled(source, spec, fed == "drawn")
  if fed != FED[0]:
    raise BadInput(
      f"fed={fed} says nothing to teacher_forcing={spec}, which always feeds the true "
      "token: lower that, or drop `fed`"
    )
  return source


def schedule(spec: str) -> Callable[[int], float]:
  """The rate of teacher forcing by step, from 0 to 1 (Bengio et al. 2015).

  - `RATE` or `constant:RATE`: always the same; 1 is teacher forcing.
  - `linear:START,END,STEPS`: from START to END within STEPS, then END.
  - `exponential:K`: K ** i at step i, 0 <= K <= 1.
  - `inverse_sigmoid:K`: K / (K + exp(i / K)), K >= 1.

  Args:
    spec: one of these.

  Raises:
    BadInput: it is none, or its numbers lie elsewhere.
  """
  name, numbers = specs.read("teacher_forcing", _whole(spec), FORMS)
  first, *rest = numbers
  if name == "constant" and 0 <= first <= 1:
    return lambda step: first
  if name == "exponential" and 0 <= first <= 1:
    return lambda step: first**step
  if name == "inverse_sigmoid" and 1 <= first < math.inf:
    # Beyond 700 the exponential is no number any more, and the rate is 0.
    return lambda step: first / (first + math.exp(min(step / first, 700.0)))
  if name == "linear":
    last, steps = rest
    if 0 <= min(first, last) and max(first, last) <= 1 <= steps < math.inf:
      return lambda step: first + (last - first) * min(step / steps, 1.0)
  raise BadInput(
    f"teacher_forcing={spec}: a rate, START and END must be from 0 to 1, STEPS at "
    "least 1, the K of exponential from 0 to 1, that of inverse_sigmoid at least 1"
  )


def always(spec: str) -> bool:
  """Whether every step feeds the true token: a rate that is 1 and stays so."""
  return schedule(spec)(0) == 1 and _whole(spec).startswith("constant:")


def _whole(spec: str) -> str:
  """A spec with its name: a number alone is a constant rate."""
  try:
    return f"constant:{float(spec)}"
  except ValueError:
    return spec
