"""Shapes that move at constant velocity and bounce at the walls, made from a seed.

A shape is a few rectangles that do not overlap. The grey value of a pixel is how much
of it they cover, so that a shape has the same sum of grey values wherever it is.
"""

import hashlib
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import ALL, Source
from unroll.data.video.clips import Clips, clips
from unroll.types import BadInput

EVALUATION = 2**31 - 1  # the seeds of evaluations, from here on: no training has them
LEAST = 4  # pixels of a side, and twice the largest radius
RADIUS = (0.12, 0.2)  # of a shape, in sides of a frame
SPEED = (0.05, 0.12)  # of a shape, in sides of a frame a step
THIN = 0.35  # of the width of a bar
STRIPS = 8  # rectangles of a disc


def _disc() -> NDArray[np.float64]:
  """Strips of a disc, each as wide as the disc is there in the mean."""
  y = np.linspace(-1, 1, STRIPS + 1)
  area = (y * np.sqrt(1 - y**2) + np.arcsin(y)) / 2  # of the right half, up to y
  half = np.diff(area) / np.diff(y)
  return np.stack([-half, half, y[:-1], y[1:]], axis=-1)


# The rectangles of each shape of radius 1 around 0: left, right, top, bottom.
SHAPES: dict[str, NDArray[np.float64]] = {
  "square": np.array([[-1.0, 1, -1, 1]]),
  "disc": _disc(),
  "bar": np.array([[-1, 1, -THIN, THIN]]),
  "upright bar": np.array([[-THIN, THIN, -1, 1]]),
  "cross": np.array(
    [[-1, 1, -THIN, THIN], [-THIN, THIN, -1, -THIN], [-THIN, THIN, THIN, 1]]
  ),
}
# The same as one array; what a shape has not is a rectangle of no size.
_RECTANGLES = np.stack(
  [np.pad(shape, ((0, STRIPS - len(shape)), (0, 0))) for shape in SHAPES.values()]
)
# How far each shape of radius 1 reaches to the right and to the bottom.
_REACH = np.stack([_RECTANGLES[..., 1].max(-1), _RECTANGLES[..., 3].max(-1)], axis=-1)


class Scene(NamedTuple):
  """B clips of S shapes at their first frame; lengths are in pixels, x before y.

  Attributes:
    kind: `[B, S]`, which of `SHAPES`.
    radius: `[B, S]`.
    centre: `[B, S, 2]`.
    velocity: `[B, S, 2]`, a step.
  """

  kind: NDArray[np.integer]
  radius: NDArray[np.float64]
  centre: NDArray[np.float64]
  velocity: NDArray[np.float64]

  @property
  def reach(self) -> NDArray[np.float64]:
    """How far each shape reaches from its centre, `[B, S, 2]`."""
    return self.radius[..., None] * _REACH[self.kind]


def scene(random: np.random.Generator, batch: int, shapes: int, size: int) -> Scene:
  """Draws shapes anywhere within frames, with velocities of any direction."""
  drawn = (batch, shapes)
  kind = random.integers(len(SHAPES), size=drawn)
  radius = size * random.uniform(*RADIUS, drawn)
  room = size - 2 * radius[..., None] * _REACH[kind]
  centre = (size - room) / 2 + room * random.random((*drawn, 2))
  angle, speed = random.uniform(0, 2 * np.pi, drawn), random.uniform(*SPEED, drawn)
  direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  return Scene(kind, radius, centre, size * speed[..., None] * direction)


def centres(scene: Scene, steps: int, size: int) -> NDArray[np.float64]:
  """Where the shapes are at each step, `[T, B, S, 2]`."""
  reach, t = scene.reach, np.arange(steps)[:, None, None, None]
  room = size - 2 * reach
  # Between two walls a path is a line through mirror images of the room.
  mirrored = np.mod(scene.centre - reach + t * scene.velocity, 2 * room)
  return reach + room - np.abs(mirrored - room)


def drawn(scene: Scene, at: NDArray[np.float64], size: int) -> NDArray[np.float32]:
  """The frames `[T, B, size, size, 1]` of shapes at `[T, B, S, 2]`.

  Where shapes overlap, a pixel has the greatest of their grey values.
  """
  own = scene.radius[..., None, None] * _RECTANGLES[scene.kind]  # [B, S, R, 4]
  across, down = (
    _covered(own[..., 2 * axis : 2 * axis + 2] + at[..., axis, None, None], size)
    for axis in (0, 1)
  )
  each = np.swapaxes(down, -1, -2) @ across  # [T, B, S, size, size]
  return np.clip(each.max(axis=2)[..., None], 0, 1).astype(np.float32)


def _covered(edges: NDArray[np.float64], size: int) -> NDArray[np.float64]:
  """How much of each of `size` pixels in a row lies between two edges `[…, 2]`."""
  pixel = np.arange(size)
  low, high = edges[..., :1], edges[..., 1:]
  return np.maximum(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0)


class Moving(Source[Clips]):
  """Clips of moving shapes, each batch of new ones.

  Args:
    size: pixels of a side of a frame.
    shapes: in a clip.
    batch: B.
    length: T, frames of a clip.
    horizon: see `clips`.
    free: see `clips`.
    seed: with the step it gives the batch, bit for bit.
    batches: in an epoch. The next epoch has other clips.
    columns: the clips that batches have; the others are those of other processes.

  Raises:
    BadInput: frames are too small for shapes.
  """

  def __init__(
    self,
    size: int,
    shapes: int,
    batch: int,
    length: int,
    *,
    horizon: int = 0,
    free: bool = False,
    seed: int,
    batches: int,
    columns: slice = ALL,
  ):
    if size < LEAST:
      raise BadInput(f"size={size}: moving shapes need {LEAST} pixels or more")
    self.size, self.shapes, self.batch, self.length = size, shapes, batch, length
    self.horizon, self.free = horizon, free
    self.seed, self.batches = seed, batches
    self.columns, self.rows = columns, len(range(batch)[columns])

  def __len__(self) -> int:
    return self.batches

  def epoch(self, step: int) -> int:
    return step // self.batches

  def __getitem__(self, step: int) -> Clips:
    if step < 0:
      raise IndexError(f"step must be 0 or more, not {step}")
    random = np.random.default_rng((self.seed, step))
    whole = scene(random, self.batch, self.shapes, self.size)
    own: Scene = jax.tree.map(lambda leaf: leaf[self.columns], whole)
    at = centres(own, self.length, self.size)
    return clips(drawn(own, at, self.size), self.horizon, free=self.free)

  def digest(self) -> str:
    """sha256 of the first batch: of the settings and of the generator alike."""
    first = self[0].frames
    return hashlib.sha256(f"{first.shape} ".encode() + first.tobytes()).hexdigest()

  def __repr__(self) -> str:
    return (
      f"Moving(size={self.size}, shapes={self.shapes}, batch={self.batch}, "
      f"length={self.length}, horizon={self.horizon}, free={self.free}, "
      f"seed={self.seed}, batches={self.batches}, columns={self.columns})"
    )
