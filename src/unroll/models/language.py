"""The recurrent language model: embedding, recurrent core, output layer."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp

from unroll import readout, remat, scan
from unroll.gradients.scheme import Batch, ChunkLoss
from unroll.layers import Layer, Recurrent
from unroll.linear import Initializer
from unroll.readout import Output
from unroll.types import Array, BadInput, Carry, Lookup, Sums


class LanguageModel(nn.Module):
  """p(token t+1 | tokens up to t), for all t at once.

  Attributes:
    vocabulary: V.
    embedding: E, the width of the embedding; 0 feeds one-hot vectors of width V.
    core: a layer `[T, B, E or V] -> [T, B, width]`.
    width: of the core's output.
    tie: uses the embedding as the output matrix (Press & Wolf 2017; Inan et al.
      2017); the width must then be E.
    kernel_init: of the output matrix.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  vocabulary: int
  embedding: int
  core: Layer
  width: int
  tie: bool = False
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  named: bool = False

  def setup(self):
    if self.tie and self.embedding != self.width:
      raise BadInput(
        f"--tie_embeddings needs --embedding={self.embedding} to be the width of the "
        f"last layer, {self.width}: make them equal"
      )
    if self.embedding:
      self.embed = nn.Embed(
        self.vocabulary,
        self.embedding,
        embedding_init=nn.initializers.normal(self.embedding**-0.5),
        dtype=self.dtype,
      )
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    if self.tie:
      self.output_bias = self.param(
        "output_bias", nn.initializers.zeros, (self.vocabulary,)
      )
    else:
      self.output = Output(self.vocabulary, self.kernel_init)

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
    return carry, readout.logits(ys, *self._output())

  def cross_entropy(
    self, batch: Batch, carry: Carry, backward: scan.Backward = "fast"
  ) -> tuple[Carry, Sums]:
    """Reads a `data.Batch`; returns the carry and the nats of its targets."""
    masks = {"valid": batch.valid, "reset": batch.reset}
    carry, ys = self._read(batch.inputs, carry, **masks, backward=backward)
    sums = readout.cross_entropy(
      ys, *self._output(), batch.targets, batch.weight, backward=backward
    )
    return carry, sums

  def _read(self, tokens, carry, **options) -> tuple[Carry, Array]:
    table = self.embed.embedding if self.embedding else jnp.eye(self.vocabulary)
    return self.recurrent(Lookup(cast(Array, table), tokens), carry, **options)

  def _output(self) -> tuple[Array, Array]:
    if self.tie:
      kernel, bias = cast(Array, self.embed.embedding).T, self.output_bias
    else:
      kernel, bias = self.output(self.width)
    return kernel.astype(self.dtype or kernel.dtype), bias

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a text starts with."""
    return self.recurrent.initial_carry(batch)


def next_token_loss(
  model: LanguageModel,
  plan: remat.Plan = remat.NONE,
  backward: scan.Backward = "fast",
) -> ChunkLoss:
  """The mean cross-entropy of a `data.Batch` in nats a token, as a chunk loss.

  Args:
    model: the model.
    plan: how a chunk is cut. A segment goes from its tokens to its cross-entropy, so
      that the hidden states of the whole chunk do not exist either.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """

  apply = cast(Callable[..., tuple[Carry, Sums]], model.apply)

  def loss(params, carry, batch):
    def run(both, batch):
      carry, sums = both
      carry, part = apply(params, batch, carry, backward, method="cross_entropy")
      return (carry, sums + part), None

    start = (carry, Sums.zero())
    (carry, sums), _ = remat.segmented(run, start, batch, plan)
    return sums.mean(), (carry, {"loss": sums})

  return loss
