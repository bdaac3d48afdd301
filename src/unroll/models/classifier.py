"""A label for each sequence: recurrent layers, pooled, and an output layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from unroll import classification, remat, scan
from unroll.architecture import Architecture, Layers
from unroll.data.classes.reader import Shape
from unroll.data.examples import Examples
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Layer, Recurrent, rematerialised
from unroll.models.parts import EMBEDDING_DROPOUT, Embedding
from unroll.models.pooling import POOLINGS, Pooling
from unroll.settings import setting
from unroll.start import Initializer
from unroll.types import Array, BadInput, Carry, afresh


@dataclass(frozen=True)
class Classifiers:
  """Models of labels"""

  embedding: int = setting(64, "width of the embedding of tokens; 0: one-hot", least=0)
  embedding_dropout: float = setting(0.0, EMBEDDING_DROPOUT)
  bidirectional: bool = setting(False, "every layer reads from both sides")
  pooling: str = setting(
    "last", "how the steps of a sequence become one vector", choices=POOLINGS
  )


class Classifier(nn.Module):
  """p(label | the sequence).

  Attributes:
    classes: C.
    core: layer `[T, B, E, V or D] -> [T, B, H]`.
    vocabulary: V; 0 where inputs are features.
    embedding: E, the width of the embedding; 0 feeds one-hot vectors.
    pooling: see `Pooling`.
    leftward: see `Pooling`.
    embedding_dropout: see `Embedding`.
    kernel_init: of the output matrix.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  classes: int
  core: Layer
  vocabulary: int = 0
  embedding: int = 0
  pooling: str = "last"
  leftward: tuple[bool, ...] = ()
  embedding_dropout: float = 0.0
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  named: bool = False

  def setup(self):
    if self.pooling not in POOLINGS:
      raise BadInput(f"pooling={self.pooling}: choose one of {', '.join(POOLINGS)}")
    if self.vocabulary:
      self.embed = Embedding(
        self.vocabulary, self.embedding, dropout=self.embedding_dropout
      )
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    self.pool = Pooling(self.pooling, self.leftward, self.kernel_init)
    self.output = nn.Dense(self.classes, kernel_init=self.kernel_init)

  def __call__(
    self,
    inputs: Array,
    carry: Carry | None = None,
    valid: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> Array:
    """Reads sequences; returns logits `[B, C]`.

    Every sequence starts afresh: of the carry only the randomness is used.

    Args:
      inputs: tokens `[T, B]`, or features `[T, B, D]`.
      carry: of any batch size.
      valid: bool `[T, B]`; None where there is no padding.
      backward: see `scan.unroll`.
    """
    initial = self.initial_carry(inputs.shape[1])
    carry = initial if carry is None else afresh(initial, carry)
    xs = self.embed(inputs, carry) if self.vocabulary else inputs
    ys = self.recurrent(xs, carry, valid=valid, backward=backward)[1]
    if valid is None:
      valid = jnp.ones(inputs.shape[:2], bool)
    return self.output(self.pool(ys, valid))

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a sequence starts with."""
    return self.recurrent.initial_carry(batch)


def classifier(
  chosen: Classifiers,
  architecture: Layers,
  shape: Shape,
  *,
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> Classifier:
  """The model of some settings.

  Args:
    chosen: the settings.
    architecture: its layers, recurrent or a Transformer.
    shape: of what it reads and tells apart.
    dtype: of matrix products.
    plan: which segments are computed again for the gradient.
  """
  if chosen.embedding_dropout and not shape.vocabulary:
    raise BadInput(
      f"embedding_dropout={chosen.embedding_dropout}: features have no embedding: drop "
      "it"
    )
  width = (chosen.embedding or shape.vocabulary) if shape.vocabulary else shape.features
  core, _ = architecture.encoder(width, chosen.bidirectional)
  leftward: tuple[bool, ...] = ()
  if chosen.bidirectional:
    if plan.name != "none":
      raise BadInput(f"remat={plan.name} with `bidirectional`: it is for one direction")
    if isinstance(architecture, Architecture):
      sizes = architecture.sizes
      read = sizes if architecture.skip else sizes[-1:]
      leftward = tuple(side for n in read for side in [False] * n + [True] * n)
  else:
    core = rematerialised(core, plan)
  return Classifier(
    classes=shape.classes,
    core=core,
    vocabulary=shape.vocabulary,
    embedding=chosen.embedding,
    embedding_dropout=chosen.embedding_dropout,
    pooling=chosen.pooling,
    leftward=leftward,
    dtype=None if dtype == "float32" else jnp.dtype(dtype),
    **architecture.model_options(),
  )


def example(shape: Shape) -> np.ndarray:
  """An input of one step, to make parameters with."""
  if shape.vocabulary:
    return np.zeros((1, 1), np.int32)
  return np.zeros((1, 1, shape.features), np.float32)


def classifier_loss(model: Classifier, backward: scan.Backward = "fast") -> ChunkLoss:
  """The mean cross-entropy of the labels of `Examples`, as a chunk loss.

  Its sums are "loss", and those of `classification.counts`.

  Args:
    model: the model.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """
  apply = cast(Callable[..., Array], model.apply)

  def loss(params, carry, batch: Examples):
    logits = apply(params, batch.inputs, carry, batch.valid, backward)
    targets, weight = batch.targets[0], batch.weight[0]
    nats, sums = classification.errors(logits, targets, weight)
    return nats.mean(), (carry, {"loss": nats, **sums})

  return cast(ChunkLoss, loss)
