"""What a translator writes: texts to hypotheses, and what each word looked at."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll import beam
from unroll.data.buckets import Buckets
from unroll.data.examples import Examples
from unroll.data.pairs import Given, Reader, Source
from unroll.data.pairs.batches import given
from unroll.models.translator import Translator
from unroll.types import Params

ROWS = 64  # sources of mean length side by side
BUCKETS = 4  # lengths that they are padded to, a program each


class Beam(NamedTuple):
  """How hypotheses are looked for, see `beam.search`.

  Attributes:
    beams: K; 1 is greedy.
    best: hypotheses of each source.
    length_penalty: 0 ranks by log-probability.
    coverage_penalty: what it costs to leave words of the source unread.
  """

  beams: int = 1
  best: int = 1
  length_penalty: float = 0.0
  coverage_penalty: float = 0.0


GREEDY = Beam()


class Hypothesis(NamedTuple):
  """What a source may be in the other language.

  Attributes:
    text: without `<eos>`.
    tokens: int32 `[count]`, with `<eos>` where it came.
    log_prob: the sum over tokens, in nats.
    score: what hypotheses of a source are ranked by.
  """

  text: str
  tokens: NDArray[np.int32]
  log_prob: float
  score: float


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
  if not sources:
    return lambda params: []
  lengths = [len(source.tokens) for source in sources]

  def made(rows: NDArray[np.integer], steps: int) -> Given:
    return given(sources, rows, steps)

  batches = Buckets(lengths, made, ROWS, buckets=BUCKETS, shuffle=False)
  apply = cast(Callable[..., Any], model.apply)
  encode = jax.jit(partial(apply, method="encode"))

  def step(params, context, carry, tokens):
    memory, copies = context
    carry, found, weights = apply(
      params, tokens, carry, memory, copies.T, method="next"
    )
    return carry, found, weights if how.coverage_penalty else None

  def written(params: Params) -> list[list[Hypothesis]]:
    found: list[list[Hypothesis]] = [[] for _ in sources]
    for number, batch in enumerate(batches):
      rows = batches.chosen(number)
      memory, carry = encode(params, batch)
      limits = [limit(lengths[row]) if row >= 0 else 0 for row in rows.tolist()]
      own = beam.search(
        step,
        params,
        (memory, jnp.asarray(batch.copies.T)),
        carry,
        np.full(len(rows), reader.sizes.bos, np.int32),
        length=limit(len(batch.tokens)),
        stop=reader.sizes.eos,
        forbid=(reader.sizes.bos,),
        limits=np.array(limits, np.int32),
        valid=batch.valid.T,
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
            text = reader.text(ids, sources[row])
            found[row].append(Hypothesis(text, ids, *values))
    return found

  return written


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
