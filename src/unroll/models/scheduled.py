"""Scheduled sampling (Bengio et al. 2015): a decoder in training reads its own words.

What is fed is chosen, which no gradient flows through: a first pass finds it, without a
gradient, and the decoder then reads it as it does any tokens, all steps at once.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unroll.types import Array, Carry


def fed(
  step: Callable[[Carry, Array], tuple[Carry, Array]],
  carry: Carry,
  truth: Array,
  forced: Array,
) -> Array:
  """Tokens to read, `[T, B]`: the true ones where forced, the likeliest elsewhere.

  Args:
    step: `(carry, tokens [B]) -> (carry, the likeliest next tokens [B])`.
    carry: before the first token.
    truth: `[T, B]`, what is read with teacher forcing.
    forced: bool `[T, B]`; the first step is forced anyhow.
  """

  def body(t, state):
    carry, choice, found = state
    token = jnp.where(forced[t] | (t == 0), truth[t], choice)
    carry, choice = step(carry, token)
    return carry, choice.astype(truth.dtype), found.at[t].set(token)

  state = jax.lax.stop_gradient((carry, truth[0], truth))
  return jax.lax.fori_loop(0, len(truth), body, state)[2]
