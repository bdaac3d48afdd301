"""From a picture to a sentence: convolutions and a recurrent decoder.

Vinyals et al. (2015, "Show and Tell"); with attention that of Xu et al. (2015, "Show,
Attend and Tell").
"""

import jax.numpy as jnp
import numpy as np

from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.attention import Memory
from unroll.data.captions import Pictures, Sizes
from unroll.data.examples import Examples
from unroll.models.bridge import Start
from unroll.models.conditional import Conditional
from unroll.models.decoder import decoder
from unroll.models.decoders import Decoders
from unroll.models.images import ImageEncoder, Images, grid, image_encoder
from unroll.types import BadInput, Carry, afresh


class Captioner(Conditional):
  """p(sentence | picture).

  Its carry is the decoder's: a picture is read at once.

  Attributes:
    sizes: of its vocabulary and its pictures.
    decoder: what writes.
    coverage_loss: times what was read again of places already read.
    encoder: what makes places `[B, P, M]` of pictures.
  """

  encoder: ImageEncoder

  def encode(
    self,
    given: Pictures,
    carry: Carry | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Memory, Carry]:
    """Reads pictures; returns their places, and the carry that follows from the mean.

    Args:
      given: the pictures.
      carry: whose randomness is used; None: none.
      backward: of no effect, as there is no scan through a picture.
    """
    values = self.encoder(jnp.asarray(given.images)[0])
    initial = self.initial_carry(values.shape[0])
    carry = initial if carry is None else afresh(initial, carry)
    memory = self.decoder.memory(values, jnp.ones(values.shape[:2], bool))
    return memory, self.decoder.begin(Start(memory, jnp.mean(values, axis=1)), carry)

  def initial_carry(self, batch: int) -> Carry:
    """A carry with a place for the randomness: every sentence starts afresh."""
    return self.decoder.initial_carry(batch)

  @property
  def grid(self) -> tuple[int, int]:
    """Rows and columns of the places of a picture."""
    return grid((self.sizes.side, self.sizes.side), len(self.encoder.channels))


def captioner(
  images: Images,
  decoders: Decoders,
  architecture: Architecture,
  sizes: Sizes,
  *,
  weights: bool = False,
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> Captioner:
  """The model of some settings.

  attention=last is that of "mean": a picture has no end.

  Args:
    images: the settings of the encoder.
    decoders: the settings of the decoder.
    architecture: the decoder's cells, widths and what stands between them.
    sizes: of its vocabulary and its pictures.
    weights: whether steps return the weights of the places.
    dtype: of matrix products.
    plan: `remat.NONE`.

  Raises:
    BadInput: settings contradict each other.
  """
  if decoders.bridge == "copy":
    raise BadInput(
      "bridge=copy: convolutions have no state that a decoder could begin with: give "
      "bridge=dense or zero"
    )
  if plan.name != "none":
    raise BadInput(f"remat={plan.name}: a captioner takes none; leave it out")
  encoder = image_encoder(images, sizes.side, dtype)
  rows, columns = grid((sizes.side, sizes.side), len(images.channels))
  return Captioner(
    sizes=sizes,
    decoder=decoder(
      decoders,
      architecture,
      sizes.target,
      images.memory,
      places=rows * columns,
      weights=weights,
      dtype=dtype,
    ),
    coverage_loss=decoders.coverage_loss,
    encoder=encoder,
  )


def example(sizes: Sizes) -> Examples:
  """A picture and a target of one token, to make parameters with."""
  ones = np.ones((1, 1), bool)
  images = np.zeros((1, 1, sizes.side, sizes.side, 3), np.uint8)
  tokens = np.zeros((1, 1), np.int32)
  return Examples(Pictures(images), tokens, np.ones((1, 1), np.float32), ones)
