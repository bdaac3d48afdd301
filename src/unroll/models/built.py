"""A model that was built again from a run's folder, and the files that it needs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from unroll.data.vocabulary import Vocabulary
from unroll.names import Names

SERIES, SCORES = "series.json", "scores.json"
LEXICON = "lexicon.json"
FRAMES = "frames.json"
SPEECH = "speech.json"

# Of a parameter what each entry along each of its axes stands for; None: they are alike
# in all models of its shape.
Meaning = tuple[tuple[str, ...] | None, ...]
Meanings = Mapping[Names, Meaning]


class Built(NamedTuple):
  """A model that was built again.

  Attributes:
    module: a Linen module that has an `initial_carry`.
    apply: `(params, carry, inputs, valid) -> (carry, outputs)`.
    causal: whether no output depends on later inputs, so that there is a step.
    example: an input `[1, 1, …]`, to make parameters with.
    vocabulary: of its tokens; None where it reads none.
    files: what else accompanies it, by name.
  """

  module: Any
  apply: Callable[..., tuple[Any, Any]]
  causal: bool
  example: Any
  vocabulary: Vocabulary | None
  files: Mapping[str, str]
