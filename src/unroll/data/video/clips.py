"""Clips side by side, and the batches of frames that are there already."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import ALL, Source
from unroll.types import BadInput


class Clips(NamedTuple):
  """Clips of T frames side by side.

  Attributes:
    frames: float32 `[T, B, height, width, C]`, from 0 to 1.
    weight: float32 `[S, B]`, 1 where one of the first S frames is to be predicted from
      those before; 0 at the first frame and at padding. S is T, or T - K.
    ahead: float32 `[K, B]`, the same of the last K frames, which are to be predicted
      from the first T - K alone; None where that is not asked.
  """

  frames: NDArray[np.float32]
  weight: NDArray[np.float32]
  ahead: NDArray[np.float32] | None


def clips(
  frames: NDArray[np.float32],
  horizon: int = 0,
  real: NDArray[np.bool_] | None = None,
  *,
  free: bool = False,
) -> Clips:
  """The batch of some frames.

  Args:
    frames: `[T, B, height, width, C]`.
    horizon: K, the frames to predict from the others alone; 0: none.
    real: `[B]`, False where a clip is padding; None: all are real.
    free: whether those K are not to be predicted from the frames before as well.
  """
  steps, batch = frames.shape[:2]
  weight = np.ones((steps, batch), np.float32)
  if real is not None:
    weight[:, ~real] = 0
  weight[0] = 0
  first = weight[: steps - horizon] if free else weight
  return Clips(frames, first, weight[steps - horizon :] if horizon else None)


class Stored(Source[Clips]):
  """Clips of the frames of an array.

  A sequence of more frames than a clip is cut into as many clips as there is room for.
  Shuffled, each epoch has its own order, and its own first frame in each sequence.

  Args:
    frames: `[N, T, height, width, C]`, uint8, or floats from 0 to 1.
    batch: clips in a batch, B; the last batch of an epoch is padded.
    length: frames of a clip.
    horizon: see `clips`.
    free: see `clips`.
    seed: of the order and of the first frames.
    shuffle: random order, or in order, from the first frame on.
    columns: the clips that batches have; the others are those of other processes.

  Raises:
    BadInput: the sequences are shorter than a clip.
  """

  def __init__(
    self,
    frames: NDArray,
    batch: int,
    length: int,
    *,
    horizon: int = 0,
    free: bool = False,
    seed: int = 0,
    shuffle: bool = True,
    columns: slice = ALL,
  ):
    if frames.shape[1] < length:
      raise BadInput(
        f"sequences of {frames.shape[1]} frames have no clip of {length}: give longer "
        "ones"
      )
    self.frames, self.batch, self.length = frames, batch, length
    self.horizon, self.free = horizon, free
    self.seed, self.shuffle = seed, shuffle
    self.columns, self.rows = columns, len(range(batch)[columns])
    self._each = frames.shape[1] // length  # clips of a sequence
    self._clips = len(frames) * self._each
    self._order = functools.lru_cache(maxsize=2)(self._draw)

  def __len__(self) -> int:
    return -(-self._clips // self.batch)

  def epoch(self, step: int) -> int:
    return step // len(self)

  def __getitem__(self, step: int) -> Clips:
    if step < 0:
      raise IndexError(f"step must be 0 or more, not {step}")
    epoch, chunk = divmod(step, len(self))
    row = chunk * self.batch + np.arange(self.batch)[self.columns]
    order, offset = self._order(epoch)
    sequence, number = np.divmod(order[np.minimum(row, self._clips - 1)], self._each)
    first = offset[sequence] + number * self.length
    found = self.frames[sequence, first + np.arange(self.length)[:, None]]
    return clips(grey(found), self.horizon, row < self._clips, free=self.free)

  def _draw(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order of an epoch's clips, and the first frame of each sequence."""
    if not self.shuffle:
      return np.arange(self._clips), np.zeros(len(self.frames), np.int64)
    random = np.random.default_rng((self.seed, epoch))
    spare = self.frames.shape[1] - self._each * self.length
    offset = random.integers(spare, size=len(self.frames), endpoint=True)
    return random.permutation(self._clips), offset

  def __repr__(self) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(self.frames).data).hexdigest()[:16]
    return (
      f"Stored({digest}, batch={self.batch}, length={self.length}, "
      f"horizon={self.horizon}, free={self.free}, seed={self.seed}, "
      f"shuffle={self.shuffle}, columns={self.columns})"
    )


def grey(frames: NDArray) -> NDArray[np.float32]:
  """Frames as float32 from 0 to 1; of uint8, 255 is 1."""
  if frames.dtype == np.uint8:
    return frames.astype(np.float32) / np.float32(255)
  return frames.astype(np.float32, copy=False)
