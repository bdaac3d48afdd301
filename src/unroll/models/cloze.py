"""The missing character: each token from its context on one side or both."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp

from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.gradients.scheme import Batch, ChunkLoss
from unroll.layers import (
  MERGES,
  Layer,
  Recurrent,
  bidirectional,
  rematerialised,
)
from unroll.models.parts import Embedding, Readout
from unroll.start import Initializer
from unroll.types import Array, BadInput, Carry, Sums, afresh


class ClozeModel(nn.Module):
  """p(token t | the tokens of the sequence before t, after t, or both).

  One stack of layers reads from the left and one from the right, apart up to the
  top; where they meet at step t, neither has read token t.

  Attributes:
    vocabulary: V.
    embedding: E, the width of the embedding; 0 feeds one-hot vectors of width V.
    forward: layer `[T, B, E or V] -> [T, B, H]` read from the left; None: not used.
    backward: the same, read from the right.
    merge: how both become one: concat, sum, mul or average.
    embedding_dropout: see `Embedding`.
    kernel_init: of the output matrix.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  vocabulary: int
  embedding: int
  forward: Layer | None
  backward: Layer | None
  merge: str = "concat"
  embedding_dropout: float = 0.0
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  named: bool = False

  def setup(self):
    if self.merge not in MERGES:
      raise BadInput(f"merge={self.merge}: choose one of {', '.join(MERGES)}")
    self.embed = Embedding(
      self.vocabulary, self.embedding, dropout=self.embedding_dropout
    )
    core = self.forward or self.backward
    if self.forward and self.backward:
      core = bidirectional(self.forward, self.backward, merge=None)
    if core is None:
      raise ValueError("forward and backward are None: give at least one layer")
    self.recurrent = Recurrent(core, dtype=self.dtype, named=self.named)
    self.output = Readout(self.vocabulary, self.kernel_init, self.dtype)

  def __call__(self, tokens: Array, carry: Carry | None = None) -> Array:
    """Reads tokens `[T, B]`; returns logits `[T, B, V]` for each of them.

    Every sequence starts afresh: of the carry only the randomness is used.
    """
    ys = self._read(tokens, carry)
    return self.output(ys.shape[-1]).logits(ys)

  def cross_entropy(
    self, batch: Batch, carry: Carry, backward: scan.Backward = "fast"
  ) -> Sums:
    """Reads a `data.Batch`; returns the nats of its inputs."""
    ys = self._read(batch.inputs, carry, backward=backward)
    head = self.output(ys.shape[-1])
    return head.cross_entropy(ys, batch.inputs, batch.weight, backward)

  def _read(self, tokens: Array, carry: Carry | None, **options) -> Array:
    initial = self.initial_carry(tokens.shape[1])
    carry = initial if carry is None else afresh(initial, carry)
    xs = self.embed(tokens, carry).dense()
    if self.forward and self.backward:
      _, (left, right) = self.recurrent(xs, carry, **options)
      return MERGES[self.merge](_later(left), _earlier(right))
    if self.forward:
      return _later(self.recurrent(xs, carry, **options)[1])
    return _earlier(self.recurrent(xs, carry, reverse=True, **options)[1])

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a sequence starts with."""
    return self.recurrent.initial_carry(batch)


def _later(ys: Array) -> Array:
  """Every output one step later, so that step t has read up to t - 1."""
  return jnp.concatenate([jnp.zeros_like(ys[:1]), ys[:-1]])


def _earlier(ys: Array) -> Array:
  """Every output one step earlier, so that step t has read from t + 1 on."""
  return jnp.concatenate([ys[1:], jnp.zeros_like(ys[:1])])


def cloze_model(
  architecture: Architecture,
  vocabulary: int,
  *,
  embedding: int = 64,
  embedding_dropout: float = 0.0,
  side: str | None = None,
  merge: str = "concat",
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> ClozeModel:
  """The model with the layers of an architecture.

  Args:
    architecture: cells, widths and what stands between them.
    vocabulary: V.
    embedding: E; 0 for one-hot vectors.
    embedding_dropout: see `Embedding`.
    side: "forward" or "backward" reads from one side; None from both.
    merge: how both sides become one.
    dtype: of matrix products.
    plan: which segments are computed again for the gradient.
  """

  def core(direction: str) -> Layer | None:
    if side not in (None, direction):
      return None
    layers, _ = architecture.encoder(embedding or vocabulary)
    return rematerialised(layers, plan)

  return ClozeModel(
    vocabulary=vocabulary,
    embedding=embedding,
    embedding_dropout=embedding_dropout,
    forward=core("forward"),
    backward=core("backward"),
    merge=merge,
    dtype=None if dtype == "float32" else jnp.dtype(dtype),
    **architecture.model_options(),
  )


def cloze_loss(model: nn.Module, backward: scan.Backward = "fast") -> ChunkLoss:
  """The mean cross-entropy in nats of the inputs of a `data.Batch`, as a chunk loss.

  Args:
    model: the model, or another with such a `cross_entropy`.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """

  apply = cast(Callable[..., Sums], model.apply)

  def loss(params, carry, batch):
    sums = apply(params, batch, carry, backward, method="cross_entropy")
    return sums.mean(), (carry, {"loss": sums})

  return loss
