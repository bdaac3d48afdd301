"""A truncation scheme: an estimator of gradients, and the chunks that go with it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll import scan
from unroll.gradients.chunks import Chunks
from unroll.types import Array, Carry, Cell, Key, Params, Sums, seed

# Any pytree of time-major arrays [T, B, ...].
Batch = Any
# (params, carry, batch) -> (mean loss, (carry, sums)). sums["loss"] is what the mean
# is made of: its count is what the mean divided by. Other names are for measures.
ChunkLoss = Callable[
  [Params, Carry, Batch], tuple[Array, tuple[Carry, dict[str, Sums]]]
]
# What an estimator keeps from chunk to chunk: a pytree of arrays; () for nothing.
Memory = Any


class Estimate(NamedTuple):
  """The result of an estimator for one chunk.

  Attributes:
    value: the mean loss.
    carry: the recurrent state that the next chunk starts from.
    memory: what the estimator keeps, in the structure that came in.
    sums: those of the chunk loss.
    grads: the gradient of the mean loss, in the structure of the parameters.
  """

  value: Array
  carry: Carry
  memory: Memory
  sums: dict[str, Sums]
  grads: Params


class Estimator(NamedTuple):
  """Takes the gradient of a chunk loss, with a memory from chunk to chunk.

  No gradient flows into the carry that comes in: state passes from chunk to chunk by
  way of the carry, and what the gradient has to know of the past by the memory.

  Attributes:
    init: `(params, carry, batch) -> memory` before the first chunk. The batch is one
      like those to come, of which only the shapes are read.
    estimate: `(params, carry, memory, batch, key) -> Estimate`. The key is another for
      every step of training.
  """

  init: Callable[[Params, Carry, Batch], Memory]
  estimate: Callable[[Params, Carry, Memory, Batch, Key], Estimate]


class Scheme(NamedTuple):
  """How the gradient through time is taken, and the chunks that this asks for.

  Attributes:
    estimator: makes an estimator of a chunk loss.
    backward: how the chunk loss that it is given must be differentiated, see
      `scan.unroll`: "autodiff" where the estimator takes derivatives in forward mode.
    chunks: how the data are cut.
    rate: `batch -> factor` on the learning rate.
    cell: what the cells of the loss must be in its place, with the same parameters and
      outputs, and a carry of its own; None: as they are.
    feedback: whether a read-out sends its error back to them by a fixed random matrix,
      see `readout.sent_back`, in place of its own.
  """

  estimator: Callable[[ChunkLoss], Estimator]
  backward: scan.Backward = "fast"
  chunks: Chunks = Chunks()
  rate: Callable[[Batch], Array | float] = lambda batch: 1.0
  cell: Callable[[Cell], Cell] | None = None
  feedback: bool = False


def over_chunks(
  estimator: Estimator, params: Params, carry: Carry, memory: Memory, chunks: Batch, key
) -> tuple[Carry, Memory, Params]:
  """The mean gradient of many chunks in turn, at the same parameters.

  Args:
    estimator: of a chunk loss.
    params: the parameters.
    carry: before the first chunk.
    memory: before the first chunk.
    chunks: batches of one shape, stacked on a leading axis.
    key: chunk n draws from `fold_in(key, n)`.

  Returns:
    The carry and the memory after the last chunk; the gradient.
  """

  def one(state, chunk):
    (carry, memory), total, count = state
    number, batch = chunk
    own = jax.random.fold_in(key, number)
    found = estimator.estimate(params, seed(carry, own), memory, batch, own)
    weight = found.sums["loss"].count
    total = jax.tree.map(
      lambda t, g: t + weight.astype(g.dtype) * g, total, found.grads
    )
    after = (seed(found.carry, None), found.memory)
    return (after, total, count + weight), None

  nothing = jax.tree.map(jnp.zeros_like, params)
  numbered = (jnp.arange(duration(chunks)), chunks)
  state = ((carry, memory), nothing, jnp.zeros((), jnp.float32))
  (after, total, count), _ = jax.lax.scan(one, state, numbered)
  weight = jnp.maximum(count, 1)
  return *after, jax.tree.map(lambda t: t / weight.astype(t.dtype), total)


def memoryless(
  take: Callable[[Params, Carry, Batch], tuple[tuple[Array, Any], Params]],
) -> Estimator:
  """The estimator of a function that needs neither memory nor randomness.

  Args:
    take: `(params, carry, batch) -> ((value, (carry, sums)), grads)`, as
      `jax.value_and_grad(loss, has_aux=True)` is.
  """

  def estimate(params, carry, memory, batch, key):
    del key
    (value, (carry, sums)), grads = take(params, carry, batch)
    return Estimate(value, carry, memory, sums, grads)

  return Estimator(lambda params, carry, batch: (), estimate)


def no_sums(
  loss: ChunkLoss, params: Params, carry: Carry, batch: Batch
) -> dict[str, Sums]:
  """The sums of a chunk loss before anything counted: zeros; nothing is computed."""
  _, (_, shapes) = jax.eval_shape(loss, params, carry, batch)
  return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def steps(batch: Batch, start: int, stop: int) -> Batch:
  """The steps `start` to `stop` of a time-major batch."""
  return jax.tree.map(lambda leaf: leaf[start:stop], batch)


def duration(batch: Batch) -> int:
  """T."""
  return len(jax.tree.leaves(batch)[0])


def present(batch: Batch) -> Array | int:
  """The steps of a batch at which any of its sequences has a real one.

  These are counted in the batch's attribute `valid [T, B]`; a batch that has none, or
  whose `valid` is None, has no padding: T.
  """
  valid = getattr(batch, "valid", None)
  return duration(batch) if valid is None else jnp.sum(jnp.any(valid, axis=1))
