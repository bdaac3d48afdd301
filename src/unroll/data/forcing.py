"""Scheduled sampling: how often training feeds a decoder the true token before."""

import math
from collections.abc import Callable

from unroll import specs
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
