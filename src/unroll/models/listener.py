"""From a sound to labels by attention: recurrent layers listen, a decoder spells.

Chorowski et al. (2015, "Attention-Based Models for Speech Recognition") and Chan et al.
(2016, "Listen, Attend and Spell"). Where theirs halves the steps in each layer, here
frames are side by side in a step from the start.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from unroll import scan
from unroll.architecture import Architecture
from unroll.attention import Memory
from unroll.data.examples import Examples
from unroll.data.speech.dictation import Sizes, Sounds
from unroll.models.decoders import Decoders
from unroll.models.reading import Reading, ReadingCarry, halves
from unroll.types import Carry


class Listener(Reading):
  """p(labels | sound); the attributes are those of `Reading`."""

  def encode(
    self,
    given: Sounds,
    carry: ReadingCarry | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Memory, Carry]:
    """Hears sounds; returns what the decoder reads, and its first carry.

    Args:
      given: features `[S, B, D]` and where they are valid.
      carry: whose randomness is used; None: none.
      backward: see `scan.unroll`.
    """
    steps, valid = jnp.asarray(given.steps), jnp.asarray(given.valid)
    return self.read(steps, valid, self.fresh(steps.shape[1], carry), backward)


def listener(
  decoders: Decoders,
  architecture: Architecture,
  sizes: Sizes,
  *,
  bidirectional: bool = True,
  **options: Any,
) -> Listener:
  """The model of some settings; encoder and decoder have the same cells.

  Args:
    decoders: the settings of the decoder.
    architecture: cells, widths and what stands between them.
    sizes: of what it reads and writes.
    bidirectional: every layer of the encoder reads from both sides.
    **options: see `halves` and `decoder.decoder`.

  Raises:
    BadInput: settings contradict each other.
  """
  own = halves(
    decoders,
    architecture,
    sizes.features,
    sizes.target,
    bidirectional=bidirectional,
    **options,
  )
  return Listener(sizes=sizes, **own)


def example(sizes: Sizes) -> Examples:
  """A sound of one step and a target of one token, to make parameters with."""
  ones = np.ones((1, 1), bool)
  given = Sounds(np.zeros((1, 1, sizes.features), np.float32), ones)
  tokens = np.zeros((1, 1), np.int32)
  return Examples(given, tokens, np.ones((1, 1), np.float32), ones)
