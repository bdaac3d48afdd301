"""What a decoder writes of what its encoder read: all that is given, by beam search."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from numpy.typing import NDArray

from unroll import beam
from unroll.data.buckets import Buckets
from unroll.data.powers import Powers
from unroll.models.conditional import Conditional
from unroll.types import Params


class Beam(NamedTuple):
  """How hypotheses are looked for, see `beam.search`.

  Attributes:
    beams: K; 1 is greedy.
    best: hypotheses of each thing that is given.
    length_penalty: 0 ranks by log-probability.
    coverage_penalty: what it costs to leave places unread.
  """

  beams: int = 1
  best: int = 1
  length_penalty: float = 0.0
  coverage_penalty: float = 0.0


GREEDY = Beam()


class Hypothesis(NamedTuple):
  """What may be written.

  Attributes:
    text: without `<eos>`.
    tokens: int32 `[count]`, with `<eos>` where it came.
    log_prob: the sum over tokens, in nats.
    score: what hypotheses are ranked by.
  """

  text: str
  tokens: NDArray[np.int32]
  log_prob: float
  score: float


def written(
  model: Conditional,
  batches: Buckets[Any] | Powers[Any],
  limit: Callable[[int], int],
  text: Callable[[NDArray[np.int32], int], str],
  how: Beam = GREEDY,
) -> Callable[[Params], list[list[Hypothesis]]]:
  """Makes `params -> the hypotheses of each thing that is given`, the best first.

  Compiled once for all parameters; what one becomes does not depend on the others.

  Args:
    model: the model; of a coverage penalty one whose steps return weights.
    batches: what is given, each once: the inputs of `Examples`.
    limit: (the steps of one) -> the most tokens of its hypotheses.
    text: (tokens, which of them) -> the text.
    how: how they are looked for.
  """
  sizes, lengths = model.sizes, batches.lengths.tolist()
  encode, step = _programs(model, how.coverage_penalty > 0)

  def of_all(params: Params) -> list[list[Hypothesis]]:
    found: list[list[Hypothesis]] = [[] for _ in lengths]
    for number, given in enumerate(batches):
      batch = jax.device_put(given)
      rows = batches.chosen(number)
      limits = [limit(lengths[row]) if row >= 0 else 0 for row in rows.tolist()]
      memory, carry = encode(params, batch)
      copies = model.copies(batch)
      own = beam.search(
        step,
        params,
        (memory, None if copies is None else copies.T),
        carry,
        np.full(len(rows), sizes.bos, np.int32),
        length=limit(len(jax.tree.leaves(batch)[0])),  # a program for each bucket
        stop=sizes.eos,
        forbid=(sizes.bos,),
        limits=np.array(limits, np.int32),
        valid=memory.valid,
        **how._asdict(),
      )
      tokens, count, *numbers = jax.device_get(
        (own.tokens, own.count, own.log_prob, own.score)
      )
      for column, row in enumerate(rows.tolist()):
        if row >= 0:
          for rank in range(how.best):
            ids = tokens[rank, column, : count[rank, column]]
            values = (float(n[rank, column]) for n in numbers)
            found[row].append(Hypothesis(text(ids, row), ids, *values))
    return found

  return of_all


@lru_cache(maxsize=16)  # so that the same model is the same program
def _programs(model: Conditional, reads: bool) -> tuple[Callable[..., Any], beam.Step]:
  """How a model reads what is given, and its step, with weights if it `reads`."""
  apply = cast(Callable[..., Any], model.apply)

  def step(params, context, carry, tokens):
    memory, copies = context
    copies = None if copies is None else copies.T
    carry, found, weights = apply(params, tokens, carry, memory, copies, method="next")
    return carry, found, weights if reads and weights.shape[-1] else None

  return jax.jit(partial(apply, method="encode")), step
