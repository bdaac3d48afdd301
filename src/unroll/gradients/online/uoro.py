"""Unbiased online recurrent optimisation: an influence of rank one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.gradients.chunks import Chunks
from unroll.gradients.online.transition import following
from unroll.gradients.scheme import Scheme
from unroll.types import Array, Key

LEAST = 1e-7  # added to norms, as Tallec & Ollivier do


class RankOne(NamedTuple):
  """An influence `[B, S, P]` as the outer product of two vectors a sequence.

  Attributes:
    states: `[B, S]`.
    params: `[B, P]`.
  """

  states: Array
  params: Array


def uoro(k: int = 1) -> Scheme:
  """The gradient through all steps since the start, right in the mean, k new an update.

  Its memory is a vector of the states and one of the parameters for each sequence,
  whose outer product has the influence d states / d params as its mean over random
  signs (Tallec & Ollivier 2018). A chunk takes the time of about three backward passes.
  The variance grows with the number of states (Cooijmans & Martens 2019), and falls
  with k, for signs are drawn once a chunk.

  Args:
    k: steps of a chunk, within which backpropagation takes the gradient; at least 1.
  """

  def begin(vector: Array, size: int) -> RankOne:
    of_params = jnp.zeros((len(vector), size), vector.dtype)
    return RankOne(jnp.zeros_like(vector), of_params)

  def seen(slope: Array, memory: RankOne) -> Array:
    return jnp.sum(slope * memory.states, axis=-1) @ memory.params

  return Scheme(following(begin, seen, _followed), "autodiff", Chunks(k))


def _followed(after, flat: Array, still: Array, memory: RankOne, key: Key) -> RankOne:
  """The rank-one influence after a chunk, of one sequence."""
  signs = jax.random.rademacher(key, still.shape, still.dtype)
  _, pushed = jax.jvp(lambda change: after(flat, change), (still,), (memory.states,))
  _, pull = jax.vjp(lambda flat: after(flat, still), flat)
  (pulled,) = pull(signs)
  # Any factors keep the mean; these make both parts of each product as long.
  old = _balance(memory.params, pushed)
  new = _balance(pulled, signs)
  return RankOne(old * pushed + new * signs, memory.params / old + pulled / new)


def _balance(params: Array, states: Array) -> Array:
  """What to multiply the states by, and divide the parameters by."""
  lengths = map(jnp.linalg.norm, (params, states))
  of_params, of_states = (jnp.sqrt(length) for length in lengths)
  return (of_params + LEAST) / (of_states + LEAST)
