"""What a listener writes of sounds, and what each label listened to."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unroll.data.buckets import Buckets
from unroll.data.examples import Examples
from unroll.data.powers import Powers
from unroll.data.speech.dictation import Sounds
from unroll.data.speech.reader import Reader
from unroll.models.listener import Listener
from unroll.translating import limit
from unroll.types import Params
from unroll.writing import GREEDY, Beam, Hypothesis, written


def writer(
  model: Listener,
  reader: Reader,
  source: Buckets[Sounds] | Powers[Sounds],
  how: Beam = GREEDY,
) -> Callable[[Params], list[list[Hypothesis]]]:
  """Makes `params -> the hypotheses of each sound`, the best first.

  Compiled once for all parameters; what is written of a sound does not depend on the
  others.

  Args:
    model: the model; of a coverage penalty one whose steps return weights.
    reader: of its labels.
    source: the sounds, each once.
    how: how they are looked for.
  """

  def text(tokens: NDArray[np.int32], row: int) -> str:
    return reader.text(labels(model, tokens))

  return written(model, source, limit, text, how)


def labels(model: Listener, tokens: NDArray[np.int32]) -> tuple[int, ...]:
  """The labels of a hypothesis: its tokens without `<eos>`."""
  return tuple(tokens[tokens != model.sizes.eos].tolist())


def looked(
  model: Listener, params: Params, steps: NDArray[np.float32], tokens: NDArray[np.int32]
) -> NDArray[np.float32]:
  """The weights `[T, S]` of a sound's steps as each token was written.

  Args:
    model: one whose steps return weights.
    params: its parameters.
    steps: of the sound, `[S, D]`.
    tokens: of a hypothesis, `[T]`.
  """
  given = Sounds(steps[:, None], np.ones((len(steps), 1), bool))
  ones = np.ones((len(tokens), 1), bool)
  batch = Examples(given, tokens[:, None], ones.astype(np.float32), ones)
  weights = model.apply(params, batch, method="weights")
  return np.asarray(weights)[:, 0]
