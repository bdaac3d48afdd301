"""What a trained model answers."""

from typing import Any, NamedTuple


class Functions(NamedTuple):
  """What a model is asked for: pure functions whose first argument are parameters.

  They take and return what people have, such as texts. Lists of sequences compile a
  program for each power of two of lengths and counts, prompts and arrays one for each
  shape. None is what a kind of model does not answer.

  Attributes:
    predict: what the model says of what it is given.
    generate: what it writes, draws or plays.
    score: how likely it finds what it is given: `score.Scores`, in nats.
  """

  predict: Any = None
  generate: Any = None
  score: Any = None
