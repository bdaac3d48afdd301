"""Polyphonic music: which keys sound next, each with a probability of its own."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.data.music.frames import Frames
from unroll.data.music.rolls import KEYS
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Layer, Recurrent, rematerialised
from unroll.models.parts import Readout
from unroll.start import Initializer
from unroll.types import Array, Carry, Key, Sums, afresh


class RollModel(nn.Module):
  """p(key k sounds at step t+1 | steps up to t), for all keys and t at once.

  Given the steps before, keys are independent (the RNN of Boulanger-Lewandowski et al.
  2012).

  Attributes:
    core: a layer `[T, B, 88] -> [T, B, width]`.
    width: of the core's output.
    kernel_init: of the output matrix.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  core: Layer
  width: int
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  named: bool = False

  def setup(self):
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    self.output = Readout(KEYS, self.kernel_init, self.dtype)

  def __call__(
    self,
    keys: Array,
    carry: Carry | None = None,
    *,
    valid: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Carry, Array]:
    """Reads steps `[T, B, 88]` of 0 and 1; returns the carry and logits `[T, B, 88]`.

    The logits of a step are those of the next one. A piece begins with a step of zeros,
    from which its first step follows.
    """
    xs = keys.astype(jnp.float32)
    carry, ys = self.recurrent(xs, carry, valid=valid, backward=backward)
    return carry, self.output(self.width).logits(ys)

  def nats(
    self, batch: Frames, carry: Carry, backward: scan.Backward = "fast"
  ) -> dict[str, Sums]:
    """The negative log-likelihood of a batch, summed over keys.

    Every piece starts afresh: of the carry only the randomness is used.

    Returns:
      "loss": the nats of all steps, and how many. "pieces": the nats a step of each
      piece, summed over pieces, and how many.
    """
    keys = jnp.asarray(batch.keys, jnp.float32)
    before = jnp.concatenate([jnp.zeros_like(keys[:1]), keys[:-1]])
    start = afresh(self.initial_carry(keys.shape[1]), carry)
    _, logits = self(before, start, backward=backward)
    each = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), keys).sum(-1)
    # `where`, not a product: what is not counted may be NaN.
    each = jnp.where(batch.weight > 0, each * batch.weight, 0)
    piece = Sums(jnp.sum(each, axis=0), jnp.sum(batch.weight, axis=0))
    there = (piece.count > 0).astype(jnp.float32)
    return {
      "loss": Sums(jnp.sum(piece.total), jnp.sum(piece.count)),
      "pieces": Sums(jnp.sum(piece.mean()), jnp.sum(there)),
    }

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a piece starts with."""
    return self.recurrent.initial_carry(batch)


def roll_model(
  architecture: Architecture,
  *,
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> RollModel:
  """The model with the layers of an architecture.

  Args:
    architecture: cells, widths and what stands between them.
    dtype: of matrix products.
    plan: which segments are computed again for the gradient.
  """
  core, width = architecture.encoder(KEYS)
  return RollModel(
    core=rematerialised(core, plan),
    width=width,
    dtype=None if dtype == "float32" else jnp.dtype(dtype),
    **architecture.model_options(),
  )


def roll_loss(model: RollModel, backward: scan.Backward = "fast") -> ChunkLoss:
  """The mean negative log-likelihood in nats a step of `Frames`, as a chunk loss.

  Args:
    model: the model.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """
  apply = cast(Callable[..., dict[str, Sums]], model.apply)

  def loss(params, carry, batch):
    sums = apply(params, batch, carry, backward, method="nats")
    return sums["loss"].mean(), (carry, sums)

  return loss


def drawn(logits: Array, key: Key, temperature: Array) -> Array:
  """A step drawn from its logits `[88]`: 0 and 1, float32.

  Args:
    logits: of the keys.
    key: PRNG key, consumed.
    temperature: divides the logits; at 0 a key sounds that is likelier than not.
  """
  # A logistic random number below the logit has its probability; times the temperature.
  noise = jax.random.logistic(key, logits.shape, jnp.float32)
  return (logits > temperature * noise).astype(jnp.float32)
