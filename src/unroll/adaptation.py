"""Language models that remember and learn while they are evaluated.

Each makes a chunk loss for `train.evaluation` whose carry holds more than the model's:
adapted parameters, a cache of words, several draws of the dropout. The split must be
read in order, its carry passing from batch to batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from unroll.gradients.scheme import Batch, ChunkLoss
from unroll.models.language import LanguageModel
from unroll.types import Array, Carry, Params, Sums, seed

# (params, carry, batch) -> (carry, ys [T, B, H], log p(target) [T, B]).
Reading = Callable[[Params, Carry, Batch], tuple[Carry, Array, Array]]
# (params, B) -> what a split starts with.
Start = Callable[[Params, int], Carry]


class Evaluated(NamedTuple):
  """A chunk loss, and the carry that a split starts with."""

  loss: ChunkLoss
  start: Start


class Adapted(NamedTuple):
  """Parameters that follow the text, and the carry of the model."""

  params: Params
  carry: Carry


class Cache(NamedTuple):
  """The latest words and the states that came before them.

  Attributes:
    carry: of the model.
    states: `[B, N, H]`, the newest last.
    words: `[B, N]`, what followed each.
    filled: `[B, N]`, False where nothing is remembered yet.
  """

  carry: Carry
  states: Array
  words: Array
  filled: Array


class Draws(NamedTuple):
  """The carries of several draws of the dropout `[K, B, …]`, and the chunks so far."""

  carries: Carry
  chunk: Array


def dynamic(part: Evaluated, rate: float, decay: float = 0.0) -> Evaluated:
  """Dynamic evaluation (Mikolov et al. 2010; Krause et al. 2018), by gradient descent.

  Each batch is scored first, and then learned from:

      θ ← θ - η ∂loss/∂θ + λ (θ_0 - θ)

  Args:
    part: what is evaluated.
    rate: η.
    decay: λ, how far a step goes back to the trained parameters θ_0.
  """

  def loss(params: Params, state: Adapted, batch: Batch):
    take = jax.value_and_grad(part.loss, has_aux=True)
    (value, (carry, sums)), grads = take(state.params, state.carry, batch)
    adapted = jax.tree.map(
      lambda p, g, first: p - rate * g + decay * (first - p),
      state.params,
      grads,
      params,
    )
    return value, (Adapted(adapted, carry), sums)

  return Evaluated(
    loss, lambda params, batch: Adapted(params, part.start(params, batch))
  )


def cached(
  model: LanguageModel, start: Start, size: int, flatness: float, weight: float
) -> Evaluated:
  """The continuous cache (Grave, Joulin & Usunier 2017): words of the near past again.

      p(w) = (1 - λ) p_model(w) + λ Σ_i softmax_i(θ h_t · h_i) [w_{i+1} = w]

  over the last N positions i; h is the output of the last layer.

  Args:
    model: the model.
    start: its carry at the start of a split.
    size: N.
    flatness: θ; at 0 every word of the cache counts alike.
    weight: λ, from 0 to 1.
  """
  read = _reading(model)

  def loss(params: Params, state: Cache, batch: Batch):
    carry, ys, log_p = read(params, state.carry, batch)
    here = (
      jnp.ones(ys.shape[:2], bool) if batch.valid is None else jnp.asarray(batch.valid)
    )
    states = jnp.concatenate([state.states, jnp.swapaxes(ys, 0, 1)], axis=1)
    words = jnp.concatenate([state.words, batch.targets.T], axis=1)
    filled = jnp.concatenate([state.filled, here.T & (batch.weight.T > 0)], axis=1)
    steps, columns = jnp.arange(len(ys)), jnp.arange(words.shape[1])
    # Step t follows position N + t of the cache, and sees the N before it.
    ahead = columns[None, :] - steps[:, None]
    seen = ((ahead >= 0) & (ahead < size))[None] & filled[:, None, :]
    scores = flatness * jnp.einsum("tbh,bnh->btn", ys, states)
    scores = jnp.where(seen, scores, -jnp.inf)
    top = jnp.max(scores, axis=-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    shares = jnp.exp(scores - top)
    total = jnp.sum(shares, axis=-1)
    same = words[:, None, :] == batch.targets.T[:, :, None]
    hits = jnp.sum(jnp.where(same, shares, 0), axis=-1)
    share = (hits / jnp.where(total > 0, total, 1)).T
    mixed = jnp.log((1 - weight) * jnp.exp(log_p) + weight * share)
    nats = -jnp.where(total.T > 0, mixed, log_p)
    newest = Cache(carry, states[:, -size:], words[:, -size:], filled[:, -size:])
    return _mean(nats, batch, newest)

  def begin(params: Params, batch: int) -> Cache:
    return Cache(
      start(params, batch),
      jnp.zeros((batch, size, model.width)),
      jnp.zeros((batch, size), jnp.int32),
      jnp.zeros((batch, size), bool),
    )

  return Evaluated(loss, begin)


def averaged(model: LanguageModel, start: Start, draws: int, key: Array) -> Evaluated:
  """Monte-Carlo dropout (Gal & Ghahramani 2016): probabilities, averaged over draws.

  What is dropped in training is dropped here, drawn anew in each chunk.

  Args:
    model: the model.
    start: its carry at the start of a split.
    draws: K, how many are averaged.
    key: of all draws.
  """
  read = _reading(model)

  def loss(params: Params, state: Draws, batch: Batch):
    keys = jax.random.split(jax.random.fold_in(key, state.chunk), draws)

    def one(carry: Carry, own: Array) -> tuple[Carry, Array]:
      after, _, log_p = read(params, seed(carry, own), batch)
      return seed(after, None), log_p

    carries, log_p = jax.vmap(one)(state.carries, keys)
    nats = jnp.log(jnp.float32(draws)) - jax.nn.logsumexp(log_p, axis=0)
    return _mean(nats, batch, Draws(carries, state.chunk + 1))

  def begin(params: Params, batch: int) -> Draws:
    first = start(params, batch)
    many = jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (draws, *leaf.shape)), first
    )
    return Draws(many, jnp.zeros((), jnp.int32))

  return Evaluated(loss, begin)


def _reading(model: LanguageModel) -> Reading:
  apply = cast(Any, model.apply)

  def read(params: Params, carry: Carry, batch: Batch):
    return apply(params, batch, carry, method="log_probs")

  return read


def _mean(nats: Array, batch: Batch, carry: Carry):
  """What a chunk loss returns, of the nats of each target."""
  total = jnp.sum(jnp.where(batch.weight > 0, nats * batch.weight, 0))
  sums = Sums(total, jnp.sum(batch.weight))
  return sums.mean(), (carry, {"loss": sums})
