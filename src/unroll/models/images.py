"""Pictures to places: convolutions that a decoder attends to (Xu et al. 2015)."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from unroll.settings import setting
from unroll.types import Array, BadInput

# Width and height of a convolution's kernel: even, as is its stride, so that a place is
# in the middle of what it sees, and pictures of attention are not aside of it.
KERNEL = 4
STRIDE = 2


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
      options = {"dtype": self.dtype, "conv_general_dilated": _convolved}
      xs = nn.Conv(channels, (KERNEL, KERNEL), strides=STRIDE, **options)(xs)
      xs = nn.relu(nn.LayerNorm()(xs.astype(jnp.float32)))
    height, width = grid((images.shape[1], images.shape[2]), len(self.channels))
    xs = xs.reshape(images.shape[0], height * width, -1)
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


def _convolved(xs: Array, kernel: Array, *_: Any, **__: Any) -> Array:
  """A convolution of KERNEL and STRIDE as a matrix product of patches.

  The rest of what Flax hands over is what this one has anyhow. Several training steps
  are one program with a loop, in which XLA's own convolutions take 26 times as long on
  a CPU as out of it (jax 0.10.2).
  """
  rows, columns = grid((xs.shape[1], xs.shape[2]), 1)
  window, strides = (KERNEL, KERNEL), (STRIDE, STRIDE)
  border = jax.lax.padtype_to_pads(xs.shape[1:3], window, strides, "SAME")
  xs = jnp.pad(xs, [(0, 0), *border, (0, 0)])

  def every(xs: Array, first: int, count: int, axis: int) -> Array:
    end = first + STRIDE * (count - 1) + 1
    return jax.lax.slice_in_dim(xs, first, end, STRIDE, axis)

  parts = [
    every(every(xs, y, rows, 1), x, columns, 2)
    for y in range(KERNEL)
    for x in range(KERNEL)
  ]
  return jnp.concatenate(parts, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _coordinates(height: int, width: int) -> np.ndarray:
  """Where each place is, y before x, from -1 to 1: `[height * width, 2]`."""
  axes = ((2 * np.arange(side) + 1) / side - 1 for side in (height, width))
  both = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
  return both.reshape(-1, 2).astype(np.float32)
