"""p(tokens | what was read): what models have in common that end in a decoder."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll import readout, scan
from unroll.attention import Memory
from unroll.data.examples import Examples
from unroll.gradients.scheme import ChunkLoss
from unroll.models import scheduled
from unroll.models.decoder import Decoder
from unroll.types import Array, Carry, Sums


class Conditional(nn.Module):
  """A decoder, and what it learns and writes; an encoder is for those that inherit.

  Attributes:
    sizes: with `target`, V, and `bos`, the token that is read first.
    decoder: what writes.
    coverage_loss: times what was read again of places already read.
  """

  sizes: Any
  decoder: Decoder
  coverage_loss: float

  @abstractmethod
  def encode(
    self, given: Any, carry: Carry | None = None, backward: scan.Backward = "fast"
  ) -> tuple[Memory, Carry]:
    """Reads what is given; returns what the decoder reads, and its first carry.

    Args:
      given: the inputs of `Examples`.
      carry: whose randomness is used; None: none.
      backward: see `scan.unroll`.
    """

  @abstractmethod
  def initial_carry(self, batch: int) -> Carry:
    """A carry with a place for the randomness: every sequence starts afresh."""

  def copies(self, given: Any) -> Array | None:
    """What a copy of each place puts out, `[S, B]`; None: nothing can be copied."""
    return None

  def __call__(self, batch: Examples, carry: Carry | None = None) -> Array:
    """What `Decoder.distribution` gives for each target, the ones before it known."""
    carry = self.initial_carry(batch.targets.shape[1]) if carry is None else carry
    memory, start = self.encode(batch.inputs, carry)
    fed = self._shifted(jnp.asarray(batch.targets))
    _, hidden, weights = self.decoder(fed, start, memory, jnp.asarray(batch.valid))
    return self.decoder.distribution(hidden, weights, self.copies(batch.inputs))

  def weights(self, batch: Examples) -> Array:
    """The weights of the places as each target is read, `[T, B, S]`."""
    memory, start = self.encode(batch.inputs)
    fed = self._shifted(jnp.asarray(batch.targets))
    return self.decoder(fed, start, memory, jnp.asarray(batch.valid))[2]

  def losses(
    self, batch: Examples, carry: Carry, backward: scan.Backward = "fast"
  ) -> dict[str, Sums]:
    """The nats of the targets, and what a training loss may add to them.

    Returns:
      "loss", the nats by token; "smoothing", by which the loss of a target that is
      spread over the vocabulary exceeds it, see `readout.smoothing`; "coverage", what
      was read again.
    """
    given, targets, weight, valid = jax.tree.map(jnp.asarray, batch)
    memory, start = self.encode(given, carry, backward)
    fed = self._shifted(targets)
    if given.sampling is not None:
      fed = self._sampled(fed, given, memory, start)
    _, hidden, weights = self.decoder(fed, start, memory, valid, backward)
    head = self.decoder.head()
    if self.decoder.copies:
      nats = self.decoder.nats(hidden, weights, targets, self.copies(given))
      loss = Sums(jnp.sum(jnp.where(weight > 0, nats * weight, 0)), jnp.sum(weight))
    else:
      loss = head.cross_entropy(hidden, targets, weight, backward)
    known = jnp.where(targets < self.sizes.target, weight, 0)  # others have no logit
    sums = {"loss": loss}
    sums["smoothing"] = readout.smoothing(
      hidden, head.kernel, head.bias, targets, known
    )
    if self.coverage_loss:
      before = jnp.cumsum(weights, axis=0) - weights
      again = jnp.sum(jnp.minimum(before, weights), axis=-1) * weight
      sums["coverage"] = Sums(jnp.sum(again), jnp.sum(weight))
    return sums

  def log_probs(self, batch: Examples) -> Array:
    """log p(target | what was read) in nats, of each column: `[B]`."""
    given, targets, weight, valid = jax.tree.map(jnp.asarray, batch)
    memory, start = self.encode(given)
    _, hidden, weights = self.decoder(self._shifted(targets), start, memory, valid)
    nats = self.decoder.nats(hidden, weights, targets, self.copies(given))
    return -jnp.sum(jnp.where(weight > 0, nats * weight, 0), axis=0)

  def next(
    self, tokens: Array, carry: Carry, memory: Memory, copies: Array | None = None
  ) -> tuple[Carry, Array, Array]:
    """One step of generation: of tokens `[B]`.

    Args:
      tokens: the tokens before, in a decoder that copies perhaps of the source.
      carry: after those before.
      memory: of what was read.
      copies: see `Decoder.distribution`.

    Returns:
      The carry, `[B, V or more]` of `Decoder.distribution`, and the weights of the
      places, `[B, S]`.
    """
    fed = self._known(tokens)[None]
    carry, hidden, weights = self.decoder(fed, carry, memory)
    found = self.decoder.distribution(hidden, weights, copies)
    return carry, found[0], weights[0]

  def _known(self, tokens: Array) -> Array:
    """Tokens that the decoder has vectors of: a copied one is unknown, 0."""
    return jnp.where(tokens < self.sizes.target, tokens, 0)

  def _shifted(self, targets: Array) -> Array:
    """What is read before each target, the true token before it."""
    first = jnp.full_like(targets[:1], self.sizes.bos)
    return self._known(jnp.concatenate([first, targets[:-1]]))

  def _sampled(self, truth: Array, given: Any, memory: Memory, start: Carry) -> Array:
    """What is read where not every true token is, see `scheduled.fed`."""
    module, variables = self.unbind()
    apply = cast(Callable[..., Any], module.apply)
    held = jax.lax.stop_gradient((variables, memory))
    copies = self.copies(given)

    def step(carry, tokens):
      carry, found, _ = apply(held[0], tokens, carry, held[1], copies, method="next")
      return carry, found

    return self._known(scheduled.fed(step, start, truth, given.sampling))


def conditional_loss(
  model: Conditional, smoothing: float = 0.0, backward: scan.Backward = "fast"
) -> ChunkLoss:
  """The mean nats a token of the targets of `Examples`, as a chunk loss.

  What smoothing and coverage add is in the value whose gradient is taken, and in no
  sum that people read as a loss.

  Args:
    model: the model.
    smoothing: the share of each target that is spread over the vocabulary (Szegedy et
      al. 2016).
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """
  apply = cast(Callable[..., dict[str, Sums]], model.apply)

  def loss(params, carry, batch: Examples):
    sums = apply(params, batch, carry, backward, method="losses")
    spread, value = sums.pop("smoothing"), sums["loss"].mean()
    if smoothing:
      value = value + smoothing * spread.mean()
    if "coverage" in sums:
      value = value + model.coverage_loss * sums.pop("coverage").mean()
    return value, (carry, sums)

  return loss
