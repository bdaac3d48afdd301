"""Real-time recurrent learning by an influence of low rank, and how wrong it may be."""

from typing import NamedTuple

import jax.numpy as jnp

from unroll.gradients.chunks import Chunks
from unroll.gradients.online.rtrl import jacobians
from unroll.gradients.online.transition import following
from unroll.gradients.scheme import Scheme
from unroll.matrices import alone
from unroll.types import Array, Key


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

  def begin(vector: Array, size: int) -> Sketch:
    rows, width = vector.shape
    kept = min(rank, width)
    eye = jnp.eye(width, kept, dtype=vector.dtype)
    return Sketch(
      jnp.broadcast_to(eye, (rows, width, kept)),
      jnp.zeros((rows, kept, size), vector.dtype),
      jnp.zeros(rows, vector.dtype),
    )

  def seen(slope: Array, memory: Sketch) -> Array:
    return jnp.einsum("bs,bsr,brp->p", slope, memory.states, memory.params)

  return Scheme(following(begin, seen, _followed), chunks=Chunks(k))


def _followed(after, flat: Array, still: Array, memory: Sketch, key: Key) -> Sketch:
  """The sketch after a chunk, of one sequence."""
  del key
  by_params, by_states = jacobians(after, flat, still)
  whole = (by_states @ memory.states) @ memory.params + by_params
  # Left singular vectors are what S × S numbers suffice for; P may be many more.
  squares, vectors = alone(jnp.linalg.eigh)(whole @ whole.T)
  rank = memory.states.shape[-1]
  basis = vectors[:, ::-1][:, :rank]
  cut = squares[-rank - 1] if rank < squares.size else jnp.zeros_like(squares[0])
  growth = alone(lambda own: jnp.linalg.norm(own, ord=2))(by_states)
  error = growth * memory.error + jnp.sqrt(jnp.maximum(cut, 0))
  return Sketch(basis, basis.T @ whole, error)
