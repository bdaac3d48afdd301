"""The recurrent language model: embedding, recurrent core, output layer."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp

from unroll import remat
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Layer, Recurrent
from unroll.linear import Initializer
from unroll.metrics import cross_entropy
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
  """

  vocabulary: int
  embedding: int
  core: Layer
  width: int
  tie: bool = False
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None

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
    self.recurrent = Recurrent(self.core, dtype=self.dtype)
    if self.tie:
      self.output_bias = self.param(
        "output_bias", nn.initializers.zeros, (self.vocabulary,)
      )
    else:
      self.output = nn.Dense(
        self.vocabulary, dtype=self.dtype, kernel_init=self.kernel_init
      )

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
    table = self.embed.embedding if self.embedding else jnp.eye(self.vocabulary)
    xs = Lookup(cast(Array, table), tokens)
    carry, ys = self.recurrent(xs, carry, valid=valid, reset=reset)
    if not self.tie:
      return carry, self.output(ys)
    logits = self.embed.attend(ys).astype(ys.dtype)
    return carry, logits + jnp.broadcast_to(self.output_bias, logits.shape)

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a text starts with."""
    return self.recurrent.initial_carry(batch)


def next_token_loss(model: LanguageModel, plan: remat.Plan = remat.NONE) -> ChunkLoss:
  """The mean cross-entropy of a `data.Batch` in nats a token, as a chunk loss.

  Args:
    model: the model.
    plan: how a chunk is cut. A segment goes from its tokens to its cross-entropy, so
      that neither hidden states nor logits of the whole chunk exist.
  """

  apply = cast(Callable[..., tuple[Carry, Array]], model.apply)

  def loss(params, carry, batch):
    def run(both, batch):
      carry, sums = both
      carry, logits = apply(
        params, batch.inputs, carry, valid=batch.valid, reset=batch.reset
      )
      return (carry, sums + cross_entropy(logits, batch.targets, batch.weight)), None

    start = (carry, Sums.zero())
    (carry, sums), _ = remat.segmented(run, start, batch, plan)
    return sums.mean(), (carry, sums)

  return loss
