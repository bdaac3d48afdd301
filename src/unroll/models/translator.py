"""From a sequence of tokens to another: a recurrent encoder and a decoder.

Sutskever, Vinyals & Le (2014) and Cho et al. (2014); with attention that of Bahdanau,
Cho & Bengio (2015) or of Luong, Pham & Manning (2015).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.attention import Memory
from unroll.data.examples import Examples
from unroll.data.pairs import Given, Sizes
from unroll.layers import Layer, Recurrent
from unroll.models.bridge import Start
from unroll.models.conditional import Conditional
from unroll.models.decoder import Decoders, decoder
from unroll.models.parts import Embedding
from unroll.models.pooling import Pooling
from unroll.settings import setting
from unroll.types import Array, BadInput, Carry, afresh


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


class Translator(Conditional):
  """p(target | source).

  Attributes:
    sizes: of its vocabularies.
    decoder: the other half.
    coverage_loss: times what was read again of places already read.
    embedding: E, of the source.
    core: layer `[S, B, E] -> [S, B, M]`.
    leftward: see `Pooling`.
    last: the memory is the end of the source alone.
    shared: both sides have the decoder's vectors.
    embedding_dropout: of the source, see `Embedding`.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  embedding: int
  core: Layer
  leftward: tuple[bool, ...] = ()
  last: bool = False
  shared: bool = False
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

  def initial_carry(self, batch: int) -> TranslatorCarry:
    """A carry with a place for the randomness: every source starts afresh."""
    return TranslatorCarry(
      self.recurrent.initial_carry(batch), self.decoder.initial_carry(batch)
    )

  def copies(self, given: Given) -> Array | None:
    return jnp.asarray(given.copies)


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
  embedding = source_width(encoders, decoders, sizes)
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


def source_width(encoders: Encoders, decoders: Decoders, sizes: Sizes) -> int:
  """The width of the source's vectors: their own, or the target's, which they share.

  Raises:
    BadInput: they are shared, and the two sides have two vocabularies.
  """
  if not encoders.share_embeddings:
    return encoders.source_embedding
  if not sizes.joint:
    raise BadInput(
      "`share_embeddings` needs one vocabulary of both sides: give `joint` too"
    )
  return decoders.embedding


def example() -> Examples:
  """A source and a target of one token, to make parameters with."""
  ones = np.ones((1, 1), bool)
  tokens = np.zeros((1, 1), np.int32)
  given = Given(tokens, ones, tokens, None)
  return Examples(given, tokens, np.ones((1, 1), np.float32), ones)
