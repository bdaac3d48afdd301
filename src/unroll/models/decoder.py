"""A decoder: tokens one after another, given what an encoder makes of a source.

Every model that answers in a sequence has this half: the memory that it reads may be of
a text, of a picture or of sounds.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll import scan
from unroll.architecture import Architecture
from unroll.attention import Form, Memory, Sizes, attending
from unroll.compose import Wiring, deep, mask
from unroll.layers import Layer, Recurrent, stacked
from unroll.models import pointer
from unroll.models.bridge import Bridge, Start, check_places, copied
from unroll.models.decoders import ATTENTIONS, Decoders
from unroll.models.parts import Embedding, Head, Readout
from unroll.models.pointer import Pointer
from unroll.start import Initializer
from unroll.types import Array, BadInput, Carry, keyed

_SITE = 2**31 + 1  # of the output's masks, beside those of the layers


class Decoder(nn.Module):
  """p(token t+1 | tokens up to t, the source).

  Attributes:
    vocabulary: V.
    embedding: E.
    core: layer `[T, B, E] -> [T, B, H]`, whose context is a `Memory` if it reads one.
    width: H.
    keys: A, the width of keys that are a product of the values; 0: they are the values.
    bridge: one of `BRIDGES`.
    tie: uses the embedding as the output matrix; H must then be E.
    output_dropout: rate on what the output layer reads.
    copies: the next token may be one of the source, where the weights of the places
      are its probabilities (See, Liu & Manning 2017).
    embedding_dropout: see `Embedding`.
    scaled: see `Embedding`.
    kernel_init: of the output matrix.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  vocabulary: int
  embedding: int
  core: Layer
  width: int
  keys: int = 0
  bridge: str = "dense"
  tie: bool = False
  output_dropout: float = 0.0
  copies: bool = False
  embedding_dropout: float = 0.0
  scaled: bool = False
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  named: bool = False

  def setup(self):
    if self.tie and self.embedding != self.width:
      raise BadInput(
        f"`tie_embeddings` needs embedding={self.embedding} to be the width of the "
        f"decoder, {self.width}: make them equal"
      )
    self.embed = Embedding(
      self.vocabulary,
      self.embedding,
      dropout=self.embedding_dropout,
      scaled=self.scaled,
    )
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    if self.keys:
      self.key = nn.Dense(self.keys, use_bias=False, dtype=self.dtype)
    if self.bridge == "dense":
      self.first = Bridge()
    self.output = Readout(self.vocabulary, self.kernel_init, self.dtype, self.tie)
    if self.copies:
      self.pointer = Pointer()

  def memory(self, values: Array, valid: Array) -> Memory:
    """What is read of values `[B, S, M]`, which are there where valid `[B, S]`."""
    keys = self.key(values).astype(values.dtype) if self.keys else values
    return Memory(values, keys, valid)

  def begin(self, start: Start, draws: Carry) -> Carry:
    """The carry before the first token.

    Args:
      start: what the encoder made of the source.
      draws: a carry with the randomness to use.

    Raises:
      BadInput: coverage takes less than all places of the memory.
    """
    carry = self.recurrent.initial_carry(start.summary.shape[0])
    if self.bridge == "dense":
      carry = self.first(carry, start.summary)
    elif self.bridge == "copy":
      carry = copied(carry, start)
    check_places(carry, start.memory)
    return keyed(carry, draws)

  def __call__(
    self,
    tokens: Array,
    carry: Carry,
    memory: Memory,
    valid: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Carry, Array, Array]:
    """Reads tokens `[T, B]`.

    Returns:
      The carry; what the output layer reads, `[T, B, H]`; and the weights of the places
      at each step, `[T, B, S]`, with no place where the core does not hand them out.
    """
    options: dict[str, Any] = {"valid": valid, "backward": backward}
    if self.core.context:
      options["context"] = memory
    after, ys = self.recurrent(self.embed(tokens, carry), carry, **options)
    hidden, weights = ys[..., : self.width], ys[..., self.width :]
    draw = carry.draw
    if self.output_dropout and draw.key is not None:
      steps = draw.t + jnp.arange(len(hidden), dtype=jnp.int32)
      masks = jax.vmap(
        lambda t: mask(
          draw._replace(t=t), hidden.shape[1:], self.output_dropout, _SITE, False
        )
      )
      hidden = hidden * masks(steps).astype(hidden.dtype)
    return after, hidden, weights

  def head(self) -> Head:
    """The output layer."""
    return self.output(self.width, self.embed.table())

  def distribution(self, hidden: Array, weights: Array, copies: Array | None) -> Array:
    """log p of the next token, up to what softmax takes out: `[…, V or more]`.

    Args:
      hidden: `[T, B, H]`.
      weights: `[T, B, S]`.
      copies: int32 `[S, B]`, the token that each place stands for, below V + S; read by
        a decoder that copies alone.
    """
    logits = self.head().logits(hidden)
    if not self.copies:
      return logits
    assert copies is not None
    return pointer.distribution(logits, self.pointer(hidden), weights, copies)

  def nats(
    self, hidden: Array, weights: Array, targets: Array, copies: Array | None
  ) -> Array:
    """-log p of each target `[T, B]`; the rest as of `distribution`."""
    head = self.head()
    if not self.copies:
      return head.nats(hidden, targets)
    assert copies is not None
    return pointer.nats(
      head.logits(hidden), self.pointer(hidden), weights, copies, targets
    )

  def initial_carry(self, batch: int) -> Carry:
    """A carry with a place for the randomness; `begin` makes the one to start with."""
    return self.recurrent.initial_carry(batch)


def decoder(
  chosen: Decoders,
  architecture: Architecture,
  vocabulary: int,
  values: int,
  *,
  places: int = 0,
  copies: bool = False,
  weights: bool = False,
  dtype: str = "float32",
) -> Decoder:
  """The decoder of some settings.

  Args:
    chosen: the settings.
    architecture: cells, widths and what stands between them.
    vocabulary: V.
    values: M, the width of the memory.
    places: the most places of a memory, read with `coverage`.
    copies: see `Decoder`.
    weights: whether calls return the weights of the places.
    dtype: of matrix products.

  Raises:
    BadInput: settings contradict each other.
  """
  score, product = ATTENTIONS[chosen.attention]
  wiring = architecture.wiring
  width = architecture.sizes[-1]
  if architecture.skip:
    raise BadInput("`skip` feeds what a decoder has not: drop it")
  read_again = chosen.coverage or chosen.coverage_loss or copies
  if score in (None, "mean") and (read_again or chosen.window or chosen.feeding):
    raise BadInput(
      f"attention={chosen.attention} has no query, and `window`, `feeding`, `coverage` "
      "and `copy` need one: choose additive, dot, general or scaled_dot"
    )
  keys = (width if product else values) if score else 0
  cells = architecture.cells(chosen.embedding)
  if score is None:
    core = stacked(*cells, wiring=wiring._replace(output_dropout=0.0))
  else:
    form = Form(
      score,
      chosen.look,
      chosen.feeding,
      chosen.window,
      places if chosen.coverage else 0,
    )
    inner = cells[0]
    if len(cells) > 1 or wiring.residual:
      between = wiring._replace(input_dropout=0.0, output_dropout=0.0)
      inner = deep(*cells, wiring=between)
    sizes = Sizes(chosen.embedding, width, values, keys)
    seen = attending(
      inner, sizes, form, weights=bool(weights or copies or chosen.coverage_loss)
    )
    core = stacked(
      seen,
      wiring=Wiring(input_dropout=wiring.input_dropout, locked=wiring.locked),
    )
  return Decoder(
    vocabulary=vocabulary,
    embedding=chosen.embedding,
    core=core,
    width=width,
    keys=width if product else 0,
    bridge=chosen.bridge,
    tie=chosen.tie_embeddings,
    output_dropout=wiring.output_dropout,
    copies=copies,
    embedding_dropout=chosen.embedding_dropout,
    scaled=chosen.scale_embeddings,
    dtype=None if dtype == "float32" else jnp.dtype(dtype),
    **architecture.model_options(),
  )
