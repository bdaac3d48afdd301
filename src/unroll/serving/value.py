"""What a trained model answers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from unroll.score import Scores


class Functions(NamedTuple):
  """What a model is asked for: pure functions whose first argument are parameters.

  They take and return what people have, such as texts, and compile a program for each
  power of two of lengths and counts. None is what a kind of model does not answer.

  Attributes:
    predict: what the model says of what it is given.
    generate: what it writes, draws or plays.
    score: how likely it finds what it is given, in nats.
  """

  predict: Callable[..., Any] | None = None
  generate: Callable[..., Any] | None = None
  score: Callable[..., Scores] | None = None
