"""The language model: embedding, recurrent core or Transformer, output layer."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp

from unroll import remat, scan
from unroll.architecture import Layers
from unroll.gradients.scheme import Batch, ChunkLoss
from unroll.layers import Layer, Recurrent
from unroll.models.parts import Embedding, Head, Readout
from unroll.penalties import NO_PENALTIES, Edge, Penalties
from unroll.start import Initializer
from unroll.types import Array, BadInput, Carry, Sums, added


class LanguageModel(nn.Module):
  """p(token t+1 | tokens up to t), for all t at once.

  Attributes:
    vocabulary: V.
    embedding: E, the width of the embedding; 0 feeds one-hot vectors of width V.
    core: a layer `[T, B, E or V] -> [T, B, width]`.
    width: of the core's output.
    tie: uses the embedding as the output matrix (Press & Wolf 2017; Inan et al.
      2017); the width must then be E.
    embedding_dropout: see `Embedding`.
    kernel_init: of the output matrix.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
    feedback: of training, see `Head.cross_entropy`.
  """

  vocabulary: int
  embedding: int
  core: Layer
  width: int
  tie: bool = False
  embedding_dropout: float = 0.0
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  named: bool = False
  feedback: bool = False

  def setup(self):
    if self.tie and self.embedding != self.width:
      raise BadInput(
        f"`tie_embeddings` needs embedding={self.embedding} to be the width of the "
        f"last layer, {self.width}: make them equal"
      )
    # By default Flax's embedding has the same distribution, and other last bits.
    deviation = self.embedding**-0.5 if self.embedding else 1.0
    normal = nn.initializers.normal(deviation)
    self.embed = Embedding(
      self.vocabulary, self.embedding, normal, self.embedding_dropout
    )
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    self.output = Readout(self.vocabulary, self.kernel_init, self.dtype, self.tie)
    if self.tie:
      nn.share_scope(self, self.output)

  def __call__(
    self,
    tokens: Array,
    carry: Carry | None = None,
    *,
    valid: Array | None = None,
    reset: Array | None = None,
  ) -> tuple[Carry, Array]:
    """Reads tokens `[T, B]`; returns the carry and logits `[T, B, V]`.

    With T = 1 it is the step of generation.
    """
    carry, ys = self._read(tokens, carry, valid=valid, reset=reset)
    return carry, self._head().logits(ys)

  def cross_entropy(
    self,
    batch: Batch,
    carry: Carry,
    edge: Edge,
    penalties: Penalties = NO_PENALTIES,
    backward: scan.Backward = "fast",
  ) -> tuple[Carry, Edge, dict[str, Sums]]:
    """Reads a `data.Batch`; returns the carry, the nats of its targets, and more.

    Args:
      batch: the batch.
      carry: what it starts from.
      edge: the output before it, see `penalties`.
      penalties: of which the sums stand beside "loss".
      backward: see `scan.unroll`.
    """
    masks = {"valid": batch.valid, "reset": batch.reset}
    carry, ys = self._read(batch.inputs, carry, **masks, backward=backward)
    head = self._head()
    nats = head.cross_entropy(ys, batch.targets, batch.weight, backward, self.feedback)
    edge, sums = penalties.of_states(ys, edge, **masks)
    return carry, edge, {"loss": nats, **sums}

  def log_probs(self, batch: Batch, carry: Carry) -> tuple[Carry, Array, Array]:
    """Reads a `data.Batch`; returns the carry, and of every step output and target.

    Returns:
      The carry; the output of the last layer `[T, B, width]`; log p(target) `[T, B]`.
    """
    masks = {"valid": batch.valid, "reset": batch.reset}
    carry, ys = self._read(batch.inputs, carry, **masks)
    return carry, ys, -self._head().nats(ys, batch.targets)

  def _read(self, tokens, carry, **options) -> tuple[Carry, Array]:
    return self.recurrent(self.embed(tokens, carry), carry, **options)

  def _head(self) -> Head:
    return self.output(self.width, self.embed.table())

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a text starts with."""
    return self.recurrent.initial_carry(batch)


def language_model(
  architecture: Layers,
  vocabulary: int,
  *,
  embedding: int = 64,
  embedding_dropout: float = 0.0,
  tie: bool = False,
  dtype: str = "float32",
) -> LanguageModel:
  """The model with the layers of an architecture.

  Args:
    architecture: its layers, recurrent or a Transformer.
    vocabulary: V.
    embedding: E; 0 for one-hot vectors.
    embedding_dropout: see `Embedding`.
    tie: uses the embedding as the output matrix.
    dtype: of matrix products.
  """
  core, width = architecture.encoder(embedding or vocabulary)
  return LanguageModel(
    vocabulary=vocabulary,
    embedding=embedding,
    embedding_dropout=embedding_dropout,
    core=core,
    width=width,
    tie=tie,
    dtype=None if dtype == "float32" else jnp.dtype(dtype),
    **architecture.model_options(),
  )


def next_token_loss(
  model: LanguageModel,
  plan: remat.Plan = remat.NONE,
  backward: scan.Backward = "fast",
  penalties: Penalties = NO_PENALTIES,
) -> ChunkLoss:
  """The mean cross-entropy of a `data.Batch` in nats a token, as a chunk loss.

  Args:
    model: the model.
    plan: how a chunk is cut. A segment goes from its tokens to its cross-entropy, so
      that the hidden states of the whole chunk do not exist either.
    backward: "autodiff" for forward mode, see `scan.unroll`.
    penalties: what the mean is raised by; their sums stand beside the loss.
  """

  apply = cast(Callable[..., tuple[Carry, Edge, dict[str, Sums]]], model.apply)
  names = ["loss", *penalties.names]

  def loss(params, carry, batch):
    def run(state, batch):
      carry, edge, sums = state
      options = {"backward": backward, "method": "cross_entropy"}
      carry, edge, part = apply(params, batch, carry, edge, penalties, **options)
      return (carry, edge, added(sums, part)), None

    edge = Edge.none(batch.inputs.shape[1], model.width)
    start = (carry, edge, {name: Sums.zero() for name in names})
    (carry, _, sums), _ = remat.segmented(run, start, batch, plan)
    value = sums["loss"].mean()
    return penalties.added(value, sums, params), (carry, sums)

  return loss
