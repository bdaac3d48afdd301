"""A cloze model: what stands in the gaps of a text."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from unroll.layers import initial_carry
from unroll.models.built import Built
from unroll.serving.value import Functions
from unroll.types import Array, BadInput, Params

GAP = "_"


class Filled(NamedTuple):
  """A text whose gaps are filled.

  Attributes:
    text: with the likeliest token in each gap.
    chances: float32 `[G, V]`, the probabilities of the tokens in each gap.
  """

  text: str
  chances: NDArray[np.float32]


def functions(built: Built) -> Functions:
  """What a cloze model answers.

  `predict(params, text)`: what was `Filled` of a text where `_` stands for one token,
  such as a character. It is filled from left to right: a gap is context of the next.
  """
  vocabulary, chances_of = built.vocabulary, _chances(built.module)
  assert vocabulary is not None
  unknown = ord(GAP) if vocabulary.unknown is None else vocabulary.unknown

  def predict(params: Params, text: str) -> Filled:
    before, *after = text.split(GAP)
    if not after:
      raise BadInput(f"text={text!r} has no gap: give one as {GAP}")
    # Each part with the gap before it: normalised as a whole, gaps might be lost.
    parts = [np.append(np.int32(unknown), vocabulary.encode(part)) for part in after]
    tokens = np.concatenate([vocabulary.encode(before), *parts])
    gap, filled, found = tokens.size - sum(part.size for part in parts), before, []
    for part, rest in zip(parts, after):
      chances = np.array(
        jax.device_get(chances_of(params, jax.device_put(tokens)))[gap]
      )
      if vocabulary.unknown is not None:
        chances[vocabulary.unknown] = 0
      best = np.array([chances.argmax()])
      tokens[gap] = best[0]
      gap += part.size
      filled += vocabulary.decode(best) + rest
      found.append(chances)
    return Filled(filled, np.stack(found))

  return Functions(predict)


@lru_cache(maxsize=16)  # so that the same model is the same program
def _chances(module: Any):
  @jax.jit
  def chances(params: Params, tokens: Array) -> Array:
    """The probabilities of each token of a text, `[T, V]`."""
    carry = initial_carry(module, params, 1)
    return jax.nn.softmax(module.apply(params, tokens[:, None], carry)[:, 0])

  return chances
