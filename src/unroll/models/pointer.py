"""A next token that is generated, or copied from the source.

The pointer-generator of See, Liu & Manning (2017): p = g · p_vocabulary + (1 - g) · a,
where a token's a is the sum of the weights of the places that it stands at. Tokens that
the vocabulary has not have the numbers from V on.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll.types import Array

LEAST = 1e-30  # a weight whose logarithm is still finite


class Pointer(nn.Module):
  """How much of the next token is generated, and how much copied."""

  @nn.compact
  def __call__(self, hidden: Array) -> tuple[Array, Array]:
    """log g and log (1 - g), `[T, B, 1]`, of what the output layer reads."""
    generates = nn.Dense(1)(hidden).astype(hidden.dtype)
    return jax.nn.log_sigmoid(generates), jax.nn.log_sigmoid(-generates)


def distribution(
  logits: Array, shares: tuple[Array, Array], weights: Array, copies: Array
) -> Array:
  """log p of every token, `[T, B, V + S]`.

  Args:
    logits: `[T, B, V]`.
    shares: of `Pointer`.
    weights: of the places, `[T, B, S]`.
    copies: int32 `[S, B]`, the token at each place, below V + S.
  """
  generated, copied = shares
  steps, batch, places = weights.shape
  made = jax.nn.log_softmax(logits) + generated
  made = jnp.pad(made, [(0, 0), (0, 0), (0, places)], constant_values=-jnp.inf)
  taken = jnp.zeros((steps, batch, made.shape[-1]), weights.dtype)
  rows = jnp.arange(batch)[:, None]
  taken = taken.at[:, rows, copies.T].add(weights)
  return jnp.logaddexp(made, jnp.log(jnp.maximum(taken, LEAST)) + copied)


def nats(
  logits: Array,
  shares: tuple[Array, Array],
  weights: Array,
  copies: Array,
  targets: Array,
) -> Array:
  """-log p of each target `[T, B]`, below V + S; the rest as of `distribution`."""
  generated, copied = shares
  size = logits.shape[-1]
  known = targets < size
  place = jnp.where(known, targets, 0)[..., None]
  made = jnp.take_along_axis(jax.nn.log_softmax(logits), place, axis=-1) + generated
  made = jnp.where(known[..., None], made, -jnp.inf)
  same = targets[..., None] == copies.T[None]
  taken = jnp.sum(jnp.where(same, weights, 0), axis=-1, keepdims=True)
  found = jnp.log(jnp.maximum(taken, LEAST)) + copied
  return -jnp.logaddexp(made, found)[..., 0]
