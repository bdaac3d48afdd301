"""Models that read in recurrent layers, of whatever it is, and end in a decoder."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.attention import Memory
from unroll.layers import Layer, Recurrent
from unroll.models.bridge import Start
from unroll.models.conditional import Conditional
from unroll.models.decoder import decoder
from unroll.models.decoders import Decoders
from unroll.models.pooling import Pooling
from unroll.types import Array, BadInput, Carry, Lookup, afresh


class ReadingCarry(NamedTuple):
  """The randomness of both halves, in their carries."""

  encoder: Carry
  decoder: Carry


class Reading(Conditional, kw_only=True):
  """p(tokens | what recurrent layers read); their inputs are for those that inherit.

  Attributes:
    sizes: see `Conditional`.
    decoder: the other half.
    coverage_loss: times what was read again of places already read.
    core: layer `[S, B, D] -> [S, B, M]`.
    leftward: see `Pooling`.
    last: the memory is the end of what was read alone.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  core: Layer
  leftward: tuple[bool, ...] = ()
  last: bool = False
  dtype: Any = None
  named: bool = False

  def setup(self):
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    self.pool = Pooling("last", self.leftward)
    # A module given as an attribute is a part by its name, here `decoder`.

  def fresh(self, batch: int, carry: ReadingCarry | None) -> ReadingCarry:
    """The first carry, with the randomness of another if there is one."""
    initial = self.initial_carry(batch)
    return initial if carry is None else afresh(initial, carry)

  def read(
    self,
    inputs: Array | Lookup,
    valid: Array,
    carry: ReadingCarry,
    backward: scan.Backward = "fast",
  ) -> tuple[Memory, Carry]:
    """Reads inputs; returns what the decoder reads, and its first carry.

    Args:
      inputs: `[S, B, D]`, or a `Lookup`.
      valid: bool `[S, B]`.
      carry: of `fresh`.
      backward: see `scan.unroll`.
    """
    after, ys = self.recurrent(inputs, carry.encoder, valid=valid, backward=backward)
    summary = self.pool(ys, valid)
    if self.last:
      memory = self.decoder.memory(summary[:, None], valid[:1].T | True)
    else:
      memory = self.decoder.memory(jnp.swapaxes(ys, 0, 1), valid.T)
    state = after if self.decoder.bridge == "copy" else None
    return memory, self.decoder.begin(Start(memory, summary, state), carry.decoder)

  def initial_carry(self, batch: int) -> ReadingCarry:
    """A carry with a place for the randomness: whatever is read starts afresh."""
    return ReadingCarry(
      self.recurrent.initial_carry(batch), self.decoder.initial_carry(batch)
    )


def halves(
  decoders: Decoders,
  architecture: Architecture,
  inputs: int,
  target: int,
  *,
  bidirectional: bool,
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
  **options: Any,
) -> dict[str, Any]:
  """Both halves by some settings, as arguments of a `Reading`; their cells are alike.

  Args:
    decoders: the settings of the decoder.
    architecture: cells, widths and what stands between them.
    inputs: D.
    target: V.
    bidirectional: every layer of the encoder reads from both sides.
    dtype: of matrix products.
    plan: `remat.NONE`.
    **options: of `decoder.decoder`.

  Raises:
    BadInput: settings contradict each other.
  """
  if decoders.bridge == "copy" and bidirectional:
    raise BadInput(
      "bridge=copy with `bidirectional`: the encoder has two states where the decoder "
      "has one: give bridge=dense, or drop `bidirectional`"
    )
  if plan.name != "none":
    raise BadInput(
      f"remat={plan.name}: an encoder before a decoder takes none; leave it out"
    )
  core, width = architecture.encoder(inputs, bidirectional)
  top = architecture.sizes[-1]
  return {
    "core": core,
    "decoder": decoder(decoders, architecture, target, width, dtype=dtype, **options),
    "leftward": (False,) * top + (True,) * top if bidirectional else (),
    "last": decoders.attention == "last",
    "coverage_loss": decoders.coverage_loss,
    "dtype": None if dtype == "float32" else jnp.dtype(dtype),
  }
