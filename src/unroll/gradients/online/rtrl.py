"""Real-time recurrent learning: the exact gradient, forward in time."""

import jax
import jax.numpy as jnp

from unroll import states
from unroll.gradients.chunks import Chunks
from unroll.gradients.online.transition import Transition, slopes
from unroll.gradients.scheme import ChunkLoss, Estimate, Estimator, Scheme
from unroll.types import Array


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

  def estimator(loss: ChunkLoss) -> Estimator:
    def init(params, carry, batch):
      parts = Transition.of(loss, params, carry, batch)
      vector = states.vector(carry)
      return jnp.zeros((*vector.shape, parts.flat(params).size), vector.dtype)

    def estimate(params, carry, memory, batch, key):
      del key
      parts = Transition.of(loss, params, carry, batch)
      value, new, sums, grads, slope = slopes(loss, params, carry, batch)
      grads = parts.added(grads, jnp.einsum("bs,bsp->p", slope, memory))
      by_params, by_states = parts.of_each(jacobians, params, carry, batch)
      memory = by_states @ memory + by_params
      return Estimate(value, new, memory, sums, grads)

    return Estimator(init, estimate)

  return Scheme(estimator, chunks=Chunks(k))


def jacobians(after, flat: Array, still: Array) -> tuple[Array, Array]:
  """Of the states after a chunk `[S]`: to parameters `[S, P]`, to states `[S, S]`."""
  _, pull = jax.vjp(after, flat, still)
  return jax.vmap(pull)(jnp.eye(still.size, dtype=still.dtype))
