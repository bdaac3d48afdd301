"""Labels of a sound without their times: recurrent layers, an output layer, CTC.

The model of Graves et al. (2006): recurrent layers read a sound from both sides, and
each step says which label, or none, is said there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from unroll import ctc, remat, scan
from unroll.architecture import Architecture
from unroll.data.examples import Examples
from unroll.data.speech.reader import BLANK, Shape
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Layer, Recurrent, rematerialised
from unroll.settings import setting
from unroll.start import Initializer
from unroll.types import Array, BadInput, Carry, Sums, afresh

ALIGNMENTS = ("ctc", "attention")


@dataclass(frozen=True)
class Transcribers:
  """Models of speech"""

  alignment: str = setting(
    "ctc",
    "how labels without times find theirs: ctc, all paths of a label or none a step "
    "that say them; attention, a decoder writes one after another and looks back",
    choices=ALIGNMENTS,
  )
  bidirectional: bool = setting(
    True, "every layer that reads sounds reads from both sides"
  )


class Transcriber(nn.Module):
  """p(label or blank at a step | the sound).

  Attributes:
    classes: C, the labels and the blank.
    core: layer `[T, B, D] -> [T, B, H]`.
    kernel_init: of the output matrix.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  classes: int
  core: Layer
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  named: bool = False

  def setup(self):
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    self.output = nn.Dense(self.classes, kernel_init=self.kernel_init)

  def __call__(
    self,
    inputs: Array,
    carry: Carry | None = None,
    valid: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> Array:
    """Reads sounds; returns the logits of each step, `[T, B, C]`.

    Every sound starts afresh: of the carry only the randomness is used.

    Args:
      inputs: features `[T, B, D]`.
      carry: of any batch size.
      valid: bool `[T, B]`; None where there is no padding.
      backward: see `scan.unroll`.
    """
    initial = self.initial_carry(inputs.shape[1])
    carry = initial if carry is None else afresh(initial, carry)
    ys = self.recurrent(inputs, carry, valid=valid, backward=backward)[1]
    return self.output(ys).astype(jnp.float32)

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a sound starts with."""
    return self.recurrent.initial_carry(batch)


def transcriber(
  chosen: Transcribers,
  architecture: Architecture,
  shape: Shape,
  *,
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> Transcriber:
  """The model of some settings.

  Args:
    chosen: the settings.
    architecture: cells, widths and what stands between them.
    shape: of what it reads and writes.
    dtype: of matrix products.
    plan: which segments are computed again for the gradient.

  Raises:
    BadInput: there is a plan, and layers read from both sides.
  """
  core, _ = architecture.encoder(shape.features, chosen.bidirectional)
  if not chosen.bidirectional:
    core = rematerialised(core, plan)
  elif plan.name != "none":
    raise BadInput(
      f"remat={plan.name} with `bidirectional`: it is for one direction; leave it out"
    )
  return Transcriber(
    classes=shape.classes,
    core=core,
    dtype=None if dtype == "float32" else jnp.dtype(dtype),
    **architecture.model_options(),
  )


def example(shape: Shape) -> np.ndarray:
  """A sound of one step, to make parameters with."""
  return np.zeros((1, 1, shape.features), np.float32)


def transcriber_loss(model: Transcriber, backward: scan.Backward = "fast") -> ChunkLoss:
  """The mean nats a label of `Examples` whose targets are labels, as a chunk loss.

  A sound that is too short for its labels does not count, with all of them; one without
  labels counts nats, and no label.

  Args:
    model: the model.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """
  apply = cast(Callable[..., Array], model.apply)

  def loss(params, carry, batch: Examples):
    labels, weight, valid = map(jnp.asarray, batch[1:])
    logits = apply(params, batch.inputs, carry, valid, backward)
    found = ctc.log_likelihood(
      logits, labels, valid, weight > 0, blank=BLANK, backward=backward
    )
    possible = found > -jnp.inf
    nats = -jnp.sum(jnp.where(possible, found, 0))
    counts = jnp.sum(jnp.where(possible[None], weight, 0))
    sums = Sums(nats, counts)
    return sums.mean(), (carry, {"loss": sums})

  return cast(ChunkLoss, loss)
