"""From a sequence of tokens to another: a recurrent encoder and a decoder.

Sutskever, Vinyals & Le (2014) and Cho et al. (2014); with attention that of Bahdanau,
Cho & Bengio (2015) or of Luong, Pham & Manning (2015).
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from unroll import scan
from unroll.architecture import Architecture
from unroll.attention import Memory
from unroll.data.examples import Examples
from unroll.data.pairs import Given, Sizes
from unroll.models.decoders import Decoders
from unroll.models.parts import Embedding
from unroll.models.reading import Reading, ReadingCarry, halves
from unroll.settings import setting
from unroll.types import Array, BadInput, Carry


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


class Translator(Reading, kw_only=True):
  """p(target | source); the other attributes are those of `Reading`.

  Attributes:
    embedding: E, of the source.
    shared: both sides have the decoder's vectors.
    embedding_dropout: of the source, see `Embedding`.
    scaled: the source's vectors too, see `Embedding`.
  """

  embedding: int
  shared: bool = False
  embedding_dropout: float = 0.0
  scaled: bool = False

  def setup(self):
    super().setup()
    if not self.shared:
      self.embed = Embedding(
        self.sizes.source,
        self.embedding,
        dropout=self.embedding_dropout,
        scaled=self.scaled,
      )

  def encode(
    self,
    given: Given,
    carry: ReadingCarry | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Memory, Carry]:
    """Reads a source; returns what the decoder reads, and its first carry.

    Args:
      given: tokens `[S, B]` and where they are valid.
      carry: whose randomness is used; None: none.
      backward: see `scan.unroll`.
    """
    tokens, valid = jnp.asarray(given.tokens), jnp.asarray(given.valid)
    carry = self.fresh(tokens.shape[1], carry)
    embed = self.decoder.embed if self.shared else self.embed
    return self.read(embed(tokens, carry.encoder), valid, carry, backward)

  def copies(self, given: Given) -> Array | None:
    return jnp.asarray(given.copies)


def translator(
  encoders: Encoders,
  decoders: Decoders,
  architecture: Architecture,
  sizes: Sizes,
  **options: Any,
) -> Translator:
  """The model of some settings; encoder and decoder have the same cells.

  Args:
    encoders: the settings of the encoder.
    decoders: the settings of the decoder.
    architecture: cells, widths and what stands between them.
    sizes: of its vocabularies.
    **options: see `halves` and `decoder.decoder`.

  Raises:
    BadInput: settings contradict each other.
  """
  embedding = source_width(encoders, decoders, sizes)
  return Translator(
    sizes=sizes,
    embedding=embedding,
    shared=encoders.share_embeddings,
    embedding_dropout=decoders.embedding_dropout,
    scaled=decoders.scale_embeddings,
    **halves(
      decoders,
      architecture,
      embedding,
      sizes.target,
      bidirectional=encoders.bidirectional,
      **options,
    ),
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
