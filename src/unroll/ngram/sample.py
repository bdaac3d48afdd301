"""Text drawn from an n-gram model, token after token."""

from collections.abc import Sequence

import numpy as np

from unroll.ngram.model import Model
from unroll.ngram.sentences import Sentences


def sample(
  model: Model,
  sentences: Sentences,
  prompt: Sequence[int],
  generator: np.random.Generator,
  *,
  length: int,
  temperature: float = 1.0,
  forbid: Sequence[int] = (),
) -> list[int]:
  """Draws `length` tokens that continue a prompt.

  Args:
    model: of the next token.
    sentences: where the context ends.
    prompt: tokens, possibly none.
    generator: of the random numbers.
    length: tokens to draw.
    temperature: the logits are divided by it; 0 takes the likeliest token.
    forbid: tokens that are never drawn.
  """
  context, drawn = sentences.context(prompt).tolist(), []
  for _ in range(length):
    logits = model.next(context)
    logits[list(forbid)] = -np.inf
    if temperature:
      logits = logits / temperature + generator.gumbel(size=logits.size)
    drawn.append(int(np.argmax(logits)))
    context.append(drawn[-1])
    if drawn[-1] == sentences.end:
      context.append(sentences.size)
  return drawn
