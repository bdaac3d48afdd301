"""The parts of models that read or predict tokens: the embedding and the readout.

A model's attribute names are the names of its parameters: `embed` and `output`.
"""

import math
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll import metrics, readout, scan
from unroll.compose import mask, no_draw
from unroll.start import Initializer
from unroll.types import Array, BadInput, Carry, Draw, Lookup, Sums, is_draw

EMBEDDING_DROPOUT = (
  "rate of the tokens whose vector training leaves out, wherever they stand in a batch"
)
_SITE = 2**31  # of a draw's masks, beside those between layers


class Embedding(nn.Module):
  """A vector for every token: a trained table, or one-hot vectors without parameters.

  The table stays in float32 where a model's products are in bfloat16: the layer that
  reads the vectors rounds them for its product.

  Attributes:
    vocabulary: V.
    width: E, the width of a vector; 0 for one-hot vectors, which have width V.
    init_table: of the table `[V, E]`; by default normal with variance 1/E.
    dropout: rate of the tokens whose vector training leaves out, wherever they stand in
      a batch (Gal & Ghahramani 2016).
    scaled: vectors are read times the square root of E (Vaswani et al. 2017), so that
      their numbers start at about 1; not the table, which an output layer may share.
  """

  vocabulary: int
  width: int
  init_table: Initializer = nn.initializers.variance_scaling(
    1.0, "fan_in", "normal", out_axis=0
  )
  dropout: float = 0.0
  scaled: bool = False

  def setup(self):
    if not 0 <= self.dropout < 1:
      raise BadInput(f"embedding_dropout={self.dropout}: give a rate from 0 to below 1")
    if self.width:
      shape = (self.vocabulary, self.width)
      self.embedding = self.param("embedding", self.init_table, shape)

  def table(self) -> Array:
    """The vectors of all tokens, `[V, E]`; the identity `[V, V]` if one-hot."""
    return self.embedding if self.width else jnp.eye(self.vocabulary)

  def __call__(self, tokens: Array, carry: Carry = None) -> Lookup:
    """The vectors of tokens `[T, B]`, `[T, B, E or V]`, for a layer to look up.

    Args:
      tokens: whole numbers below V.
      carry: of the layers that read them. Its first draw has the key of the dropout;
        where it has none, the stream `dropout` gives one, see `layers.Recurrent`.
    """
    table = self.table()
    if self.scaled:
      table = table * math.sqrt(self.width or 1)
    if self.dropout and (draw := self._draw(carry)).key is not None:
      kept = mask(draw, (self.vocabulary, 1), self.dropout, _SITE, locked=True)
      table = table * kept.astype(table.dtype)
    return Lookup(table, tokens)

  def _draw(self, carry: Carry) -> Draw:
    draws = filter(is_draw, jax.tree.leaves(carry, is_leaf=is_draw))
    draw = next(draws, no_draw())
    if draw.key is None and self.has_rng("dropout"):
      return draw._replace(key=self.make_rng("dropout"))
    return draw


class Head(NamedTuple):
  """An output layer's parameters at work.

  Attributes:
    kernel: `[H, V]`, in the type of its products.
    bias: `[V]`.
  """

  kernel: Array
  bias: Array

  def logits(self, ys: Array) -> Array:
    """`ys [T, B, H]` to logits `[T, B, V]`."""
    return readout.logits(ys, self.kernel, self.bias)

  def nats(self, ys: Array, targets: Array) -> Array:
    """-log p(target) of each step `[T, B]`: see `readout.nats`."""
    return readout.nats(ys, self.kernel, self.bias, targets)

  def cross_entropy(
    self,
    ys: Array,
    targets: Array,
    weight: Array,
    backward: scan.Backward = "fast",
    feedback: bool = False,
  ) -> Sums:
    """The nats of targets `[T, B]`, by their weights: see `readout.cross_entropy`.

    With `feedback` their error goes back by a fixed random matrix, see
    `readout.sent_back`.
    """
    if feedback:
      ys = scan.masked(ys, weight > 0)
      zs = readout.sent_back(ys, self.kernel, readout.fixed(self.kernel))
      zs = zs + jnp.broadcast_to(self.bias.astype(zs.dtype), zs.shape)
      return metrics.cross_entropy(zs, targets, weight)
    return readout.cross_entropy(
      ys, self.kernel, self.bias, targets, weight, backward=backward
    )


class Readout(nn.Module):
  """The output layer, with a matrix of its own or with the embedding's table.

  Attributes:
    vocabulary: V.
    init_kernel: of the matrix `[H, V]`.
    dtype: of its product; None is the parameters' own.
    tied: uses the embedding as the output matrix (Press & Wolf 2017; Inan et al.
      2017). The only parameter is then `output_bias`; `flax.linen.share_scope` in the
      model's `setup` puts it beside the model's parts.
  """

  vocabulary: int
  init_kernel: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  tied: bool = False

  @nn.compact
  def __call__(self, width: int, table: Array | None = None) -> Head:
    """The layer for hidden states of a width.

    Args:
      width: H, of what it reads.
      table: `[V, H]`, the embedding's; read only by a tied layer.
    """
    zeros = nn.initializers.zeros
    if self.tied:
      kernel = cast(Array, table).T
      bias = self.param("output_bias", zeros, (self.vocabulary,))
    else:
      kernel = self.param("kernel", self.init_kernel, (width, self.vocabulary))
      bias = self.param("bias", zeros, (self.vocabulary,))
    return Head(kernel.astype(self.dtype or kernel.dtype), bias)
