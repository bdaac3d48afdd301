"""A language model: how texts go on, and how likely they are."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll import generate as generation
from unroll import score as scoring
from unroll.data.examples import padded
from unroll.data.powers import Powers, power
from unroll.data.vocabulary import Vocabulary
from unroll.layers import initial_carry
from unroll.models.built import Built
from unroll.score import Scores
from unroll.serving.value import Functions
from unroll.types import Array, BadInput, Carry, Params

ROWS = 64  # texts side by side


def functions(built: Built) -> Functions:
  """What a language model answers.

  `predict(params, texts)`: float32 `[N, V]`, the probabilities of the token after each
  text.

  `generate(params, prompt="", *, length=400, samples=1, seed=0, temperature=1.0,
  top_k=0, top_p=1.0, stop="")`: texts that begin with the prompt, or with a line break
  without one, and have up to `length` tokens more; see `generate.sample`.

  `score(params, texts, *, context="")`: the log-probability of each text as if it alone
  followed the context, or a line break without one, and its tokens.
  """
  vocabulary, module = built.vocabulary, built.module
  assert vocabulary is not None
  apply, after = _apply(module), _after(module)

  def predict(params: Params, texts: Sequence[str]) -> NDArray[np.float32]:
    found = np.zeros((len(texts), len(vocabulary)), np.float32)
    tokens = [opening(vocabulary, text) for text in texts]
    batches = Powers([*map(len, tokens)], lambda *some: padded(tokens, *some), ROWS)
    for number, (batch, valid) in enumerate(batches):
      rows = batches.chosen(number)
      found[rows[rows >= 0]] = np.asarray(
        after(params, *jax.device_put((batch, valid)))
      )[rows >= 0]
    return found

  def generate(
    params: Params,
    prompt: str = "",
    *,
    length: int = 400,
    samples: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: str = "",
  ) -> list[str]:
    start, unknown = opening(vocabulary, prompt), vocabulary.unknown
    drawn = generation.sample(
      apply,
      params,
      initial_carry(module, params, samples),
      np.tile(start[:, None], (1, samples)),
      jax.jit(jax.random.key)(jax.device_put(np.int32(seed))),
      length=length,
      temperature=temperature,
      top_k=top_k,
      top_p=top_p,
      stop=tokens_of(vocabulary, stop, "stop").tolist() if stop else None,
      forbid=() if unknown is None else (unknown,),
    )
    tokens, counts = jax.device_get((drawn.tokens, drawn.count))
    return [
      vocabulary.decode(np.concatenate([start, tokens[:count, stream]]))
      for stream, count in enumerate(counts)
    ]

  def score(params: Params, texts: Sequence[str], *, context: str = "") -> Scores:
    rows = min(ROWS, power(max(len(texts), 1)))
    return scoring.score_sentences(
      apply,
      params,
      initial_carry(module, params, rows),
      [vocabulary.encode(text) for text in texts],
      context=opening(vocabulary, context).tolist(),
      batch_size=rows,
    )

  return Functions(predict, generate, score)


def opening(vocabulary: Vocabulary, text: str) -> NDArray[np.int32]:
  """The tokens that something follows, `[P]`: a line break where a text is empty."""
  if text:
    return tokens_of(vocabulary, text, "prompt")
  tokens = vocabulary.encode("\n")
  # Normalising may leave nothing of a line break; a byte it never takes away.
  return tokens if tokens.size else np.array([vocabulary.unknown or 0], np.int32)


def tokens_of(vocabulary: Vocabulary, text: str, name: str) -> NDArray[np.int32]:
  """The tokens of a text that must have one.

  Raises:
    BadInput: it has none; it is called by its name.
  """
  tokens = vocabulary.encode(text)
  if not tokens.size:
    raise BadInput(
      f"{name}={text!r} holds no token of tokenizer={vocabulary.tokenizer} "
      f"normalize={vocabulary.normalize}: give one"
    )
  return tokens


@lru_cache(maxsize=16)  # so that the same model is the same program
def _apply(module: Any) -> generation.Apply:
  def apply(params, carry, tokens, valid=None):
    return module.apply(params, tokens, carry, valid=valid)

  return apply


@lru_cache(maxsize=16)
def _after(module: Any):
  apply = _apply(module)

  @jax.jit
  def after(params: Params, tokens: Array, valid: Array) -> Array:
    """The probabilities of the token after those that are valid, `[B, V]`."""
    carry: Carry = initial_carry(module, params, tokens.shape[1])
    last = jnp.maximum(jnp.sum(valid, axis=0) - 1, 0)
    before = jnp.arange(len(tokens))[:, None] < last[None]
    carry, _ = apply(params, carry, tokens, valid=before)  # whose logits nobody reads
    end = jnp.take_along_axis(tokens, last[None], axis=0)
    return jax.nn.softmax(apply(params, carry, end)[1][0].astype(jnp.float32))

  return after
