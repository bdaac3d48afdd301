"""What a language model does with every token of a text, in one compiled loop."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll.types import Array, Carry, Params

# (params, carry, token [1]) -> (carry, logits [V], what is shown of the step).
Step = Callable[[Params, Carry, Array], tuple[Carry, Array, Any]]


class Read(NamedTuple):
  """What was seen of a text.

  Attributes:
    carry: after the last token.
    logits: `[V]` of the token that follows.
    nats: `[T]`, minus the log-probability of the token after each; of the last and of
      padding, 0.
    shown: arrays `[T, …]`, what is shown of each step.
  """

  carry: Carry
  logits: Array
  nats: Array
  shown: Any


@partial(jax.jit, static_argnums=0)
def reading(
  step: Step, params: Params, carry: Carry, tokens: Array, length: Array
) -> Read:
  """Reads a text step by step; compiled once for each T.

  Args:
    step: the model.
    params: its parameters.
    carry: before the first token, of one sequence.
    tokens: int32 `[T]`, padded.
    length: int32, how many of them are read, at least 1.
  """
  shapes = jax.eval_shape(step, params, carry, tokens[:1])
  zeros = jax.tree.map(lambda a: jnp.zeros((len(tokens), *a.shape), a.dtype), shapes[2])
  first = Read(carry, jnp.zeros_like(shapes[1]), jnp.zeros(len(tokens)), zeros)

  def one(t: Array, found: Read) -> Read:
    token = jax.lax.dynamic_slice(tokens, (t,), (1,))
    carry, logits, shown = step(params, found.carry, token)
    following = tokens[jnp.minimum(t + 1, len(tokens) - 1)]
    nats = jax.nn.logsumexp(logits) - logits[following]
    return Read(
      carry,
      logits,
      found.nats.at[t].set(jnp.where(t + 1 < length, nats, 0)),
      jax.tree.map(lambda all, a: all.at[t].set(a), found.shown, shown),
    )

  return jax.lax.fori_loop(jnp.zeros((), jnp.int32), length, one, first)
