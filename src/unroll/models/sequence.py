"""Answers at the steps of a sequence: a class, or a number."""

from collections.abc import Callable
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from unroll import metrics, remat, scan
from unroll.architecture import Architecture
from unroll.data.examples import Examples
from unroll.data.synthetic.task import MemoryTask
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Layer, Recurrent, rematerialised
from unroll.models.parts import Embedding, Readout
from unroll.start import Initializer
from unroll.types import Array, Carry, Sums, afresh

NEAR = 0.04  # a number is right within this (Hochreiter & Schmidhuber 1997)


class SequenceModel(nn.Module):
  """Reads symbols, one-hot, or numbers; answers after each step.

  Attributes:
    symbols: V; 0: it reads numbers.
    classes: C; 0: an answer is a number.
    core: a layer `[T, B, V or D] -> [T, B, width]`.
    width: of the core's output.
    kernel_init: of the output matrix.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  symbols: int
  classes: int
  core: Layer
  width: int
  kernel_init: Initializer = nn.initializers.lecun_normal()
  named: bool = False

  def setup(self):
    if self.symbols:
      self.embed = Embedding(self.symbols, 0)
    self.recurrent = Recurrent(self.core, named=self.named)
    self.output = Readout(self.classes or 1, self.kernel_init)

  def __call__(
    self,
    inputs: Array,
    carry: Carry | None = None,
    *,
    valid: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Carry, Array]:
    """Reads `[T, B]` symbols or `[T, B, D]` numbers.

    Returns:
      The carry, and `[T, B, C]` logits or `[T, B, 1]` numbers.
    """
    xs = self.embed(inputs) if self.symbols else jnp.asarray(inputs)
    carry, ys = self.recurrent(xs, carry, valid=valid, backward=backward)
    return carry, self.output(self.width).logits(ys)

  def errors(
    self, batch: Examples, carry: Carry, backward: scan.Backward = "fast"
  ) -> dict[str, Sums]:
    """Reads whole sequences: of the carry only the randomness is used.

    Returns:
      "loss", the cross-entropy in nats or the squared error of each answer, by their
      weights; and "accuracy", the sequences whose every answer is right: the most
      probable class, or a number within 0.04.
    """
    weight, targets = jnp.asarray(batch.weight), jnp.asarray(batch.targets)
    valid = None if batch.valid is None else jnp.asarray(batch.valid)
    carry = afresh(self.initial_carry(weight.shape[1]), carry)
    _, out = self(batch.inputs, carry, valid=valid, backward=backward)
    if self.classes:
      loss = metrics.cross_entropy(out, targets, weight)
      wrong = jnp.argmax(out, axis=-1) != targets
    else:
      # `where`, not a product: what is not asked may be NaN.
      error = jnp.where(weight > 0, out[..., 0] - targets, 0)
      loss = Sums(jnp.sum(jnp.square(error) * weight), jnp.sum(weight))
      wrong = ~(jnp.abs(error) < NEAR)  # NaN is wrong
    wrong = jnp.any(wrong & (weight > 0), axis=0)
    right = 1 - wrong.astype(weight.dtype)
    return {
      "loss": loss,
      "accuracy": Sums(jnp.sum(right), jnp.sum(jnp.ones_like(right))),
    }

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a sequence starts with."""
    return self.recurrent.initial_carry(batch)


def sequence_model(
  architecture: Architecture, task: MemoryTask, *, plan: remat.Plan = remat.NONE
) -> SequenceModel:
  """The model with the layers of an architecture.

  Args:
    architecture: cells, widths and what stands between them.
    task: what it reads and answers.
    plan: which segments of a sequence are computed again for the gradient.
  """
  core, width = architecture.encoder(task.width)
  return SequenceModel(
    symbols=task.width if task.symbols else 0,
    classes=task.classes,
    core=rematerialised(core, plan),
    width=width,
    **architecture.model_options(),
  )


def sequence_loss(model: SequenceModel, backward: scan.Backward = "fast") -> ChunkLoss:
  """The mean error of the answers of `Examples`, as a chunk loss.

  Args:
    model: the model.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """
  apply = cast(Callable[..., dict[str, Sums]], model.apply)

  def loss(params, carry, batch):
    sums = apply(params, batch, carry, backward, method="errors")
    return sums["loss"].mean(), (carry, sums)

  return loss
