"""Scheduled sampling (Bengio et al. 2015): a decoder in training reads its own words.

What is fed is chosen, which no gradient flows through: a first pass finds it, without a
gradient, and the decoder then reads it as it does any tokens, all steps at once.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unroll.data.forcing import Sampling
from unroll.types import Array, Carry


def fed(
  step: Callable[[Carry, Array], tuple[Carry, Array]],
  carry: Carry,
  truth: Array,
  sampling: Sampling,
) -> Array:
  """Tokens to read, `[T, B]`: the true ones where forced, the decoder's own elsewhere.

  Args:
    step: `(carry, tokens [B]) -> (carry, log p of the next token [B, V])`, up to what
      softmax takes out.
    carry: before the first token.
    truth: `[T, B]`, what is read with teacher forcing.
    sampling: which of them are, and how the others are chosen; the first anyhow.
  """
  forced, uniform = jax.tree.map(jnp.asarray, sampling)

  def body(t, state):
    carry, choice, found = state
    token = jnp.where(forced[t] | (t == 0), truth[t], choice)
    carry, logits = step(carry, token)
    if uniform is None:
      choice = jnp.argmax(logits, axis=-1)
    else:  # for the step after
      choice = drawn(logits, uniform[jnp.minimum(t + 1, len(truth) - 1)])
    return carry, choice.astype(truth.dtype), found.at[t].set(token)

  state = jax.lax.stop_gradient((carry, truth[0], truth))
  return jax.lax.fori_loop(0, len(truth), body, state)[2]


def drawn(logits: Array, uniform: Array) -> Array:
  """Tokens drawn from softmax of logits `[B, V]`, by a number from 0 to 1 for each.

  A number u draws the first token at which the cumulative probability exceeds u.
  """
  mass = jnp.cumsum(jax.nn.softmax(logits.astype(jnp.float32)), axis=-1)
  bound = uniform[:, None] * mass[:, -1:]  # rounding leaves a sum beside 1
  return jnp.sum(mass[:, :-1] <= bound, axis=-1)
