"""Scoring: the log-probability that a language model gives to sentences."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from unroll.generate import Apply, warm_up
from unroll.metrics import cross_entropy
from unroll.types import Array, BadInput, Carry, Params


@struct.dataclass
class Scores:
  """Sums over the scored tokens of each sentence.

  Attributes:
    log_prob: `[B]`, nats. Perplexity is `exp(-log_prob / count)`.
    count: `[B]`, number of tokens scored.
  """

  log_prob: Array | np.ndarray
  count: Array | np.ndarray


@partial(jax.jit, static_argnums=0)
def score(
  apply: Apply, params: Params, carry: Carry, tokens: Array, valid: Array
) -> Scores:
  """Scores each token by its probability given all tokens before it.

  The first token is only read. A token counts where it and the one before it are
  valid; what stands on padding changes nothing.

  Args:
    apply: the model, `(params, carry, tokens, valid=None) -> (carry, logits)`.
    params: its parameters.
    carry: its state before the first token.
    tokens: `[T, B]` int32, T >= 2.
    valid: `[T, B]` bool, False on padding.

  Returns:
    The `Scores` of the B columns.

  Raises:
    ValueError: the shapes differ, or there is no token to predict.
  """
  if tokens.shape != valid.shape or len(tokens) < 2:
    raise ValueError(
      f"tokens is {list(tokens.shape)} and valid {list(valid.shape)}; both must be "
      "[T, B] with T >= 2."
    )
  _, logits = apply(params, carry, tokens[:-1], valid=valid[:-1])
  weight = (valid[:-1] & valid[1:]).astype(jnp.float32)
  nats = jax.vmap(cross_entropy, in_axes=1)(logits, tokens[1:], weight)
  # Not negated, which would make a sum of nothing -0.
  return Scores(0.0 - nats.total, nats.count.astype(jnp.int32))


def score_sentences(
  apply: Apply,
  params: Params,
  carry: Carry,
  sentences: Sequence[np.ndarray],
  *,
  context: Sequence[int],
  batch_size: int,
) -> Scores:
  """Scores sentences of any lengths, each as if it alone followed the context.

  Sentences are padded to powers of two and batched with others of the same padded
  length, so that programs compile for the logarithm of the lengths only.

  Args:
    apply: the model, `(params, carry, tokens, valid=None) -> (carry, logits)`.
    params: its parameters.
    carry: its state before the context, of `batch_size` streams.
    sentences: token ids, `[n]` integers each; n may be 0.
    context: token ids read before each sentence and not scored, at least one; a line
      break where sentences are lines.
    batch_size: sentences scored at once.

  Returns:
    `Scores` of NumPy arrays in the order of the sentences; `count` is their lengths.

  Raises:
    BadInput: there is no context.
  """
  if not len(context):
    raise BadInput(
      "context is empty; give at least one token id to predict the first token from, "
      "such as that of a line break."
    )
  *_, last = context
  prompt = np.tile(np.asarray(context, np.int32)[:, None], (1, batch_size))
  carry = warm_up(apply, params, carry, jax.device_put(prompt))

  buckets: dict[int, list[int]] = defaultdict(list)
  for i, sentence in enumerate(sentences):
    padded = 1 << max(len(sentence), 1).bit_length()  # room for the context's last id
    buckets[padded].append(i)

  batches = []
  for padded, members in sorted(buckets.items()):
    for start in range(0, len(members), batch_size):
      batch = members[start : start + batch_size]
      tokens = np.full((padded, batch_size), last, np.int32)
      valid = np.zeros((padded, batch_size), bool)
      for b, i in enumerate(batch):
        tokens[1 : 1 + len(sentences[i]), b] = sentences[i]
        valid[: 1 + len(sentences[i]), b] = True
      tokens, valid = jax.device_put((tokens, valid))
      batches.append((batch, score(apply, params, carry, tokens, valid)))

  # Read back only now: until here the device never waits for the host.
  log_prob = np.zeros(len(sentences), np.float32)
  count = np.zeros(len(sentences), np.int32)
  for batch, scores in batches:
    scores = jax.device_get(scores)
    log_prob[batch] = scores.log_prob[: len(batch)]
    count[batch] = scores.count[: len(batch)]
  return Scores(log_prob, count)
