"""From a sequence of tokens to another by attention alone (Vaswani et al. 2017).

The parts are those of `translator`: an encoder that reads both ways, and a decoder
whose blocks read the words so far and then the source. Its carry is a cache.
"""

from typing import Any

import jax.numpy as jnp

from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.attention import Memory
from unroll.data.pairs import Sizes
from unroll.models.decoder import Decoder, Start
from unroll.models.decoders import Decoders
from unroll.models.translator import Encoders, Translator, source_width, translator
from unroll.settings import refuse
from unroll.transformer import Form, Stack, cache, transformer
from unroll.types import Array, BadInput, Carry, keyed


class TransformerDecoder(Decoder):
  """A decoder whose core is a Transformer.

  Attributes:
    form: of its blocks.
  """

  form: Form | None = None

  def begin(self, start: Start, draws: Carry) -> Carry:
    """The carry before the first token: a cache of all that may be written.

    That is 2 S + 10 tokens of a source of S, or as many as a step reads if fewer; of a
    cache that grows, the slots that it starts with.
    """
    assert self.form is not None
    places, slots = 2 * start.memory.valid.shape[1] + 10, self.form.slots
    if not self.form.grows:
      slots = min(places, self.form.reach or places)
    dtype = self.recurrent.core_params().norm.scale.dtype
    return keyed(cache(self.form, start.summary.shape[0], dtype, slots), draws)

  def __call__(
    self,
    tokens: Array,
    carry: Carry,
    memory: Memory,
    valid: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Carry, Array, Array]:
    """Reads tokens `[T, B]`: a whole target if it is told what is valid, else steps.

    A whole target has nothing before it, and keeps nothing.
    """
    if valid is not None:
      none = [tuple(leaf[:, :, :0] for leaf in part) for part in carry[:2]]
      carry = carry._replace(keys=none[0], values=none[1])
    return super().__call__(tokens, carry, memory, valid, backward)


def translator_of(
  encoders: Encoders,
  decoders: Decoders,
  layers: Architecture | Stack,
  sizes: Sizes,
  **options: Any,
) -> Translator:
  """The model of some settings, recurrent or a Transformer.

  Args:
    encoders: the settings of the encoder.
    decoders: the settings of the decoder.
    layers: of encoder and decoder alike.
    sizes: of its vocabularies.
    **options: see `translator`.

  Raises:
    BadInput: settings contradict each other, or say nothing to the model.
  """
  if isinstance(layers, Architecture):
    return translator(encoders, decoders, layers, sizes, **options)
  return _transformer(encoders, decoders, layers, sizes, **options)


def _transformer(
  encoders: Encoders,
  decoders: Decoders,
  layers: Stack,
  sizes: Sizes,
  *,
  places: int = 0,
  copies: bool = False,
  weights: bool = False,
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> Translator:
  del places  # of coverage, which a Transformer has not
  if plan.name != "none":
    raise BadInput(f"remat={plan.name}: a translator takes none; leave it out")
  refuse(encoders, "model=transformer", "source_embedding", "share_embeddings")
  own = ("embedding", "embedding_dropout", "scale_embeddings", "tie_embeddings")
  learned = ("label_smoothing", "coverage_loss", "teacher_forcing", "fed")
  refuse(decoders, "model=transformer", *own, *learned)
  embedding = source_width(encoders, decoders, sizes)
  core, width = layers.encoder(embedding, bidirectional=True)
  form = layers.form(
    decoders.embedding,
    reach=layers.chosen.context,
    memory=width,
    weights=bool(weights or copies or decoders.coverage_loss),
  )
  dtypes = None if dtype == "float32" else jnp.dtype(dtype)
  decoder = TransformerDecoder(
    vocabulary=sizes.target,
    embedding=decoders.embedding,
    core=transformer(form),
    width=form.width,
    bridge="zero",
    tie=decoders.tie_embeddings,
    copies=copies,
    embedding_dropout=decoders.embedding_dropout,
    scaled=decoders.scale_embeddings,
    dtype=dtypes,
    form=form,
  )
  return Translator(
    sizes=sizes,
    embedding=embedding,
    core=core,
    decoder=decoder,
    shared=encoders.share_embeddings,
    coverage_loss=decoders.coverage_loss,
    embedding_dropout=decoders.embedding_dropout,
    scaled=decoders.scale_embeddings,
    dtype=dtypes,
  )
