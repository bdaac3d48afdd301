"""What a translator writes: texts to hypotheses, and what each word looked at."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.data.examples import Examples
from unroll.data.pairs import Given, Reader, Source
from unroll.data.pairs.batches import given
from unroll.data.powers import Powers
from unroll.models.translator import Translator
from unroll.types import Params
from unroll.writing import GREEDY, Beam, Hypothesis, written

ROWS = 64  # sources side by side


def limit(length: int) -> int:
  """The most tokens of a hypothesis of a source of so many tokens."""
  return 2 * length + 10


def writer(
  model: Translator, reader: Reader, sources: Sequence[Source], how: Beam = GREEDY
) -> Callable[[Params], list[list[Hypothesis]]]:
  """Makes `params -> the hypotheses of each source`, the best first.

  Compiled once for all parameters; what a source becomes does not depend on the others.

  Args:
    model: the model; of a coverage penalty one whose steps return weights.
    reader: of its vocabularies.
    sources: of `Reader.read`, in any order, of any length.
    how: how they are looked for.
  """
  lengths = [len(source.tokens) for source in sources]

  def made(rows: NDArray[np.integer], steps: int) -> Given:
    return given(sources, rows, steps)

  def text(tokens: NDArray[np.int32], row: int) -> str:
    return reader.text(tokens, sources[row])

  return written(model, Powers(lengths, made, ROWS), limit, text, how)


def looked(
  model: Translator, params: Params, source: Source, tokens: NDArray[np.int32]
) -> NDArray[np.float32]:
  """The weights `[T, S]` of a source's tokens as each target token was written.

  Args:
    model: one whose steps return weights.
    params: its parameters.
    source: of `Reader.read`.
    tokens: of a hypothesis, `[T]`.
  """
  own = given([source], np.zeros(1, int), max(len(source.tokens), 1))
  ones = np.ones((len(tokens), 1), bool)
  batch = Examples(own, tokens[:, None], ones.astype(np.float32), ones)
  weights = model.apply(params, batch, method="weights")
  return np.asarray(weights)[:, 0]
