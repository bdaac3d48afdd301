"""Losses as sums and counts; bits and perplexities only at the end."""

import math

import jax.numpy as jnp
import optax

from unroll.types import Array, Sums


def cross_entropy(logits: Array, targets: Array, weight: Array) -> Sums:
  """Cross-entropy in nats.

  Args:
    logits: `[T, B, V]`.
    targets: `[T, B]`, integers below V.
    weight: `[T, B]`, 0 where a target must not count.

  Returns:
    The weighted sum and the sum of weights.
  """
  if logits.dtype != jnp.float64:
    logits = logits.astype(jnp.float32)
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
  # `where`, not a product: what is not counted may be NaN.
  return Sums(jnp.sum(jnp.where(weight > 0, nats * weight, 0)), jnp.sum(weight))


def perplexity(nats: float) -> float:
  """exp of the mean cross-entropy in nats per token; inf where that overflows."""
  try:
    return math.exp(nats)
  except OverflowError:
    return math.inf


def bits_per_char(nats: float, tokens_per_char: float = 1.0) -> float:
  """Mean nats per token as bits per character of the text."""
  return nats * tokens_per_char / math.log(2)
