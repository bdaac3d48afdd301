"""From a sequence of tokens to another: a recurrent encoder and a decoder.

Sutskever, Vinyals & Le (2014) and Cho et al. (2014); with attention that of Bahdanau,
Cho & Bengio (2015) or of Luong, Pham & Manning (2015).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from unroll import readout, remat, scan
from unroll.architecture import Architecture
from unroll.attention import Memory
from unroll.data.examples import Examples
from unroll.data.pairs import Given, Sizes
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Layer, Recurrent
from unroll.models import scheduled
from unroll.models.bridge import Start
from unroll.models.decoder import Decoder, Decoders, decoder
from unroll.models.parts import Embedding
from unroll.models.pooling import Pooling
from unroll.settings import setting
from unroll.types import Array, BadInput, Carry, Sums, afresh


@dataclass(frozen=True)
class Encoders:
  """Encoder"""

  bidirectional: bool = setting(
    True, "every layer of the encoder reads from both sides"
  )
  source_embedding: int = setting(
    256, "width of the vectors of the source's tokens", least=1
  )
  share_embeddings: bool = setting(
    False, "one table of vectors for both sides, of a joint vocabulary"
  )


class TranslatorCarry(NamedTuple):
  """The randomness of both halves, in their carries."""

  encoder: Carry
  decoder: Carry


class Translator(nn.Module):
  """p(target | source).

  Attributes:
    sizes: of its vocabularies.
    embedding: E, of the source.
    core: layer `[S, B, E] -> [S, B, M]`.
    decoder: the other half.
    leftward: see `Pooling`.
    last: the memory is the end of the source alone.
    shared: both sides have the decoder's vectors.
    coverage_loss: times what was read again of places already read.
    embedding_dropout: of the source, see `Embedding`.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  sizes: Sizes
  embedding: int
  core: Layer
  decoder: Decoder
  leftward: tuple[bool, ...] = ()
  last: bool = False
  shared: bool = False
  coverage_loss: float = 0.0
  embedding_dropout: float = 0.0
  dtype: Any = None
  named: bool = False

  def setup(self):
    if not self.shared:
      self.embed = Embedding(
        self.sizes.source, self.embedding, dropout=self.embedding_dropout
      )
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    self.pool = Pooling("last", self.leftward)
    # A module given as an attribute is a part by its name, here `decoder`.

  def __call__(self, batch: Examples, carry: TranslatorCarry | None = None) -> Array:
    """What `Decoder.distribution` gives for each target, the ones before it known."""
    carry = self.initial_carry(batch.targets.shape[1]) if carry is None else carry
    memory, start = self.encode(batch.inputs, carry)
    fed = self._shifted(jnp.asarray(batch.targets))
    _, hidden, weights = self.decoder(fed, start, memory, jnp.asarray(batch.valid))
    return self.decoder.distribution(hidden, weights, batch.inputs.copies)

  def encode(
    self,
    given: Given,
    carry: TranslatorCarry | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Memory, Carry]:
    """Reads a source; returns what the decoder reads, and its first carry.

    Args:
      given: tokens `[S, B]` and where they are valid.
      carry: whose randomness is used; None: none.
      backward: see `scan.unroll`.
    """
    tokens, valid = jnp.asarray(given.tokens), jnp.asarray(given.valid)
    initial = self.initial_carry(tokens.shape[1])
    carry = initial if carry is None else afresh(initial, carry)
    embed = self.decoder.embed if self.shared else self.embed
    after, ys = self.recurrent(
      embed(tokens, carry.encoder), carry.encoder, valid=valid, backward=backward
    )
    summary = self.pool(ys, valid)
    if self.last:
      memory = self.decoder.memory(summary[:, None], valid[:1].T | True)
    else:
      memory = self.decoder.memory(jnp.swapaxes(ys, 0, 1), valid.T)
    state = after if self.decoder.bridge == "copy" else None
    return memory, self.decoder.begin(Start(memory, summary, state), carry.decoder)

  def weights(self, batch: Examples) -> Array:
    """The weights of the places as each target is read, `[T, B, S]`."""
    memory, start = self.encode(batch.inputs)
    fed = self._shifted(jnp.asarray(batch.targets))
    return self.decoder(fed, start, memory, jnp.asarray(batch.valid))[2]

  def losses(
    self, batch: Examples, carry: TranslatorCarry, backward: scan.Backward = "fast"
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
    if given.forced is not None:
      fed = self._sampled(fed, given, memory, start)
    _, hidden, weights = self.decoder(fed, start, memory, valid, backward)
    head = self.decoder.head()
    if self.decoder.copies:
      nats = self.decoder.nats(hidden, weights, targets, given.copies)
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

  def next(
    self, tokens: Array, carry: Carry, memory: Memory, copies: Array | None = None
  ) -> tuple[Carry, Array, Array]:
    """One step of generation: of tokens `[B]`.

    Args:
      tokens: the tokens before, in a decoder that copies perhaps of the source.
      carry: after those before.
      memory: of the source.
      copies: see `Decoder.distribution`.

    Returns:
      The carry, `[B, V or more]` of `Decoder.distribution`, and the weights of the
      places, `[B, S]`.
    """
    fed = self._known(tokens)[None]
    carry, hidden, weights = self.decoder(fed, carry, memory)
    found = self.decoder.distribution(hidden, weights, copies)
    return carry, found[0], weights[0]

  def initial_carry(self, batch: int) -> TranslatorCarry:
    """A carry with a place for the randomness: every source starts afresh."""
    return TranslatorCarry(
      self.recurrent.initial_carry(batch), self.decoder.initial_carry(batch)
    )

  def _known(self, tokens: Array) -> Array:
    """Tokens that the decoder has vectors of: a copied one is unknown, 0."""
    return jnp.where(tokens < self.sizes.target, tokens, 0)

  def _shifted(self, targets: Array) -> Array:
    """What is read before each target, the true token before it."""
    first = jnp.full_like(targets[:1], self.sizes.bos)
    return self._known(jnp.concatenate([first, targets[:-1]]))

  def _sampled(self, truth: Array, given: Given, memory: Memory, start: Carry) -> Array:
    """What is read where not every token is forced, see `scheduled.fed`."""
    module, variables = self.unbind()
    apply = cast(Callable[..., Any], module.apply)
    held = jax.lax.stop_gradient((variables, memory))

    def step(carry, tokens):
      carry, found, _ = apply(
        held[0], tokens, carry, held[1], given.copies, method="next"
      )
      return carry, jnp.argmax(found, axis=-1)

    return self._known(scheduled.fed(step, start, truth, jnp.asarray(given.forced)))


def translator(
  encoders: Encoders,
  decoders: Decoders,
  architecture: Architecture,
  sizes: Sizes,
  *,
  places: int = 0,
  copies: bool = False,
  weights: bool = False,
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> Translator:
  """The model of some settings; encoder and decoder have the same cells.

  Args:
    encoders: the settings of the encoder.
    decoders: the settings of the decoder.
    architecture: cells, widths and what stands between them.
    sizes: of its vocabularies.
    places: the most tokens of a source, read with `coverage`.
    copies: tokens of the source may be copied.
    weights: whether steps return the weights of the places.
    dtype: of matrix products.
    plan: `remat.NONE`.

  Raises:
    BadInput: settings contradict each other.
  """
  both = encoders.bidirectional
  if decoders.bridge == "copy" and both:
    raise BadInput(
      "bridge=copy with `bidirectional`: the encoder has two states where the decoder "
      "has one: give bridge=dense, or drop `bidirectional`"
    )
  if plan.name != "none":
    raise BadInput(f"remat={plan.name}: a translator takes none; leave it out")
  embedding = encoders.source_embedding
  if encoders.share_embeddings:
    embedding = decoders.embedding
    if sizes.source != sizes.target:
      raise BadInput(
        "`share_embeddings` needs one vocabulary of both sides: give `joint` too"
      )
  core, width = architecture.encoder(embedding, both)
  top = architecture.sizes[-1]
  leftward = (False,) * top + (True,) * top
  dtypes = None if dtype == "float32" else jnp.dtype(dtype)
  return Translator(
    sizes=sizes,
    embedding=embedding,
    core=core,
    decoder=decoder(
      decoders,
      architecture,
      sizes.target,
      width,
      places=places,
      copies=copies,
      weights=weights,
      dtype=dtype,
    ),
    leftward=leftward if both else (),
    last=decoders.attention == "last",
    shared=encoders.share_embeddings,
    coverage_loss=decoders.coverage_loss,
    embedding_dropout=decoders.embedding_dropout,
    dtype=dtypes,
  )


def example() -> Examples:
  """A source and a target of one token, to make parameters with."""
  ones = np.ones((1, 1), bool)
  tokens = np.zeros((1, 1), np.int32)
  given = Given(tokens, ones, tokens, None)
  return Examples(given, tokens, np.ones((1, 1), np.float32), ones)


def translator_loss(
  model: Translator, smoothing: float = 0.0, backward: scan.Backward = "fast"
) -> ChunkLoss:
  """The mean nats a token of the targets of `Examples` of `Given`, as a chunk loss.

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
