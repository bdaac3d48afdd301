"""Pictures to places: convolutions that a decoder attends to (Xu et al. 2015)."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from unroll.settings import setting
from unroll.types import Array, BadInput

# Width and height of a convolution's kernel: even, as is its stride, so that a place is
# in the middle of what it sees, and pictures of attention are not aside of it.
KERNEL = 4


@dataclass(frozen=True)
class Images:
  """Encoder of pictures"""

  channels: tuple[int, ...] = setting(
    (32, 64, 128),
    "channels of the convolutions, each of which halves width and height",
    least=1,
  )
  memory: int = setting(128, "width of what is kept of each place", least=1)


class ImageEncoder(nn.Module):
  """Convolutions of stride 2, each with a layer norm and ReLU, and a dense layer.

  The last layer also reads where a place is, as of itself a convolution does not know
  (Liu et al. 2018, CoordConv). No picture reads of another, in training neither.

  Attributes:
    channels: of each convolution.
    width: M, of a place.
    dtype: of convolutions and products; None is the parameters' own, float32.
  """

  channels: tuple[int, ...] = (32, 64, 128)
  width: int = 128
  dtype: Any = None

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Reads uint8 pictures `[B, height, width, 3]`; returns float32 `[B, P, M]`.

    The places are those of a grid, row by row: see `grid`.
    """
    xs = jnp.asarray(images).astype(jnp.float32) / 127.5 - 1
    for channels in self.channels:
      window = (KERNEL, KERNEL)
      xs = nn.Conv(channels, window, strides=2, dtype=self.dtype)(xs)
      xs = nn.relu(nn.LayerNorm()(xs.astype(jnp.float32)))
    height, width = grid((images.shape[1], images.shape[2]), len(self.channels))
    xs = xs.reshape(len(images), height * width, -1)
    seen = nn.Dense(self.width, dtype=self.dtype)(xs).astype(jnp.float32)
    where = nn.Dense(self.width, use_bias=False)(_coordinates(height, width))
    return nn.relu(seen + where[None])


def image_encoder(chosen: Images, side: int, dtype: str = "float32") -> ImageEncoder:
  """The encoder of some settings.

  Args:
    chosen: the settings.
    side: pixels of each side of a picture.
    dtype: of convolutions and products.

  Raises:
    BadInput: so many convolutions leave a single place.
  """
  layers = len(chosen.channels)
  if layers > 1 and min(grid((side, side), layers)) < 2:
    raise BadInput(
      f"channels={','.join(map(str, chosen.channels))}: {layers} halvings leave one "
      f"place of {side} pixels; give fewer, or larger pictures"
    )
  own = None if dtype == "float32" else jnp.dtype(dtype)
  return ImageEncoder(chosen.channels, chosen.memory, own)


def grid(size: tuple[int, int], layers: int) -> tuple[int, int]:
  """Rows and columns of the places of pictures of so many pixels."""
  height, width = (-(-side // 2**layers) for side in size)
  return height, width


def _coordinates(height: int, width: int) -> np.ndarray:
  """Where each place is, y before x, from -1 to 1: `[height * width, 2]`."""
  axes = ((2 * np.arange(side) + 1) / side - 1 for side in (height, width))
  both = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
  return both.reshape(-1, 2).astype(np.float32)
