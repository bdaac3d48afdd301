"""Real-time recurrent learning: the exact gradient, forward in time."""

import jax
import jax.numpy as jnp

from unroll.gradients.chunks import Chunks
from unroll.gradients.online.transition import following
from unroll.gradients.scheme import Scheme
from unroll.types import Array, Key


def rtrl(k: int = 1) -> Scheme:
  """The gradient through all steps since the start, k new ones an update.

  Its memory is the influence of the parameters on the states, d states / d params, of
  every sequence: `[B, S, P]`. It is carried through each chunk exactly (Williams &
  Zipser 1989), so that gradients of all chunks at the same parameters add up to that of
  full backpropagation through time, layers, embedding and read-out included. When the
  parameters move, the influence is that of the parameters as they were.

  A chunk takes the time of S backward passes, and S² P multiplications a sequence.

  Args:
    k: steps of a chunk, within which backpropagation takes the gradient; at least 1.
  """

  def begin(vector: Array, size: int) -> Array:
    return jnp.zeros((*vector.shape, size), vector.dtype)

  def seen(slope: Array, influence: Array) -> Array:
    return jnp.einsum("bs,bsp->p", slope, influence)

  def follow(after, flat: Array, still: Array, influence: Array, key: Key) -> Array:
    del key
    by_params, by_states = jacobians(after, flat, still)
    return by_states @ influence + by_params

  return Scheme(following(begin, seen, follow), chunks=Chunks(k))


def jacobians(after, flat: Array, still: Array) -> tuple[Array, Array]:
  """Of the states after a chunk `[S]`: to parameters `[S, P]`, to states `[S, S]`."""
  _, pull = jax.vjp(after, flat, still)
  return jax.vmap(pull)(jnp.eye(still.size, dtype=still.dtype))
