"""Real-time recurrent learning by an influence of low rank, and how wrong it may be."""

from typing import NamedTuple

import jax.numpy as jnp

from unroll import states
from unroll.gradients.chunks import Chunks
from unroll.gradients.online.rtrl import jacobians
from unroll.gradients.online.transition import Transition, slopes
from unroll.gradients.scheme import ChunkLoss, Estimate, Estimator, Scheme
from unroll.types import Array


class Sketch(NamedTuple):
  """An influence `[B, S, P]` of rank r.

  Attributes:
    states: `[B, S, r]`, orthonormal columns.
    params: `[B, r, P]`.
    error: `[B]`, no less than the spectral norm of what the influence differs by.
  """

  states: Array
  params: Array
  error: Array


def sketched(rank: int, k: int = 1) -> Scheme:
  """The gradient through all steps since the start, nearly, k new ones an update.

  Its memory is the best influence d states / d params of rank r for each sequence, cut
  to that rank by a singular value decomposition after every chunk. With it goes a bound
  of its error: what is cut off, and the error before it times the norm of the chunk's
  Jacobian. At r = S it is `rtrl`. A chunk takes as long as one of `rtrl`, and its
  memory r / S as much.

  Args:
    rank: r, at least 1; more than S is S.
    k: steps of a chunk, within which backpropagation takes the gradient; at least 1.
  """

  def estimator(loss: ChunkLoss) -> Estimator:
    def init(params, carry, batch):
      parts = Transition.of(loss, params, carry, batch)
      vector = states.vector(carry)
      rows, size = vector.shape
      kept = min(rank, size)
      zeros = jnp.zeros((rows, kept, parts.flat(params).size), vector.dtype)
      basis = jnp.broadcast_to(
        jnp.eye(size, kept, dtype=vector.dtype), (rows, size, kept)
      )
      return Sketch(basis, zeros, jnp.zeros(rows, vector.dtype))

    def estimate(params, carry, memory, batch, key):
      del key
      parts = Transition.of(loss, params, carry, batch)
      value, new, sums, grads, slope = slopes(loss, params, carry, batch)
      seen = jnp.einsum("bs,bsr,brp->p", slope, memory.states, memory.params)
      grads = parts.added(grads, seen)
      memory = parts.of_each(_followed, params, carry, batch, memory)
      return Estimate(value, new, memory, sums, grads)

    return Estimator(init, estimate)

  return Scheme(estimator, chunks=Chunks(k))


def _followed(after, flat: Array, still: Array, memory: Sketch) -> Sketch:
  """The sketch after a chunk, of one sequence."""
  by_params, by_states = jacobians(after, flat, still)
  whole = (by_states @ memory.states) @ memory.params + by_params
  # Left singular vectors are what S × S numbers suffice for; P may be many more.
  squares, vectors = jnp.linalg.eigh(whole @ whole.T)
  rank = memory.states.shape[-1]
  basis = vectors[:, ::-1][:, :rank]
  cut = squares[-rank - 1] if rank < squares.size else jnp.zeros_like(squares[0])
  growth = jnp.linalg.norm(by_states, ord=2)
  error = growth * memory.error + jnp.sqrt(jnp.maximum(cut, 0))
  return Sketch(basis, basis.T @ whole, error)
