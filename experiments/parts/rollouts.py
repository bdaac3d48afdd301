"""Predicted frames: measured beside copying, as pictures, and as arrays."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.parts.video import ROWS, copied, over_all
from unroll.data.batches import Source
from unroll.data.video import arrays
from unroll.data.video.clips import Clips, grey
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.metrics import mean_of
from unroll.models.frames import FrameModel, Shape, frame_loss
from unroll.report import clips as pictures
from unroll.report import forecasts
from unroll.report.clips import Shown
from unroll.settings import setting
from unroll.types import Array, BadInput, Params, Sums, added

DRAWN = 4  # clips of a picture


@dataclass(frozen=True)
class Rollouts:
  """Predictions"""

  input: str = setting(
    "",
    "an .npz file of frames that --mode=predict goes on with, after the last of each "
    "sequence; empty: clips of the test part",
    kind="path",
    role="call",
  )
  output: str = setting(
    "predicted.png",
    "the file that --mode=predict writes: a picture (.png), or the predicted frames as "
    "an array (.npz)",
    kind="path",
    role="call",
  )

  def check(self) -> None:
    """Refuses a file of another kind."""
    if Path(self.output).suffix not in (".png", ".npz"):
      raise BadInput(f"output={self.output}: give the name of a .png or .npz file")


def errors(model: FrameModel, params: Params, source: Source[Clips]) -> dict[str, Sums]:
  """The sums of `frame_loss` over a part, and those of copying."""
  loss, total = jax.jit(frame_loss(model)), dict[str, Sums]()
  carry = initial_carry(model, params, source.rows)
  for batch in source:
    _, (_, sums) = loss(params, carry, batch)
    total = added(total, jax.tree.map(np.float64, jax.device_get(sums)))
  return {**total, **copied(source)}


def tell(found: Mapping[str, Sums], part: str) -> None:
  """Prints the errors of a part, of the model and of copying."""
  horizon = len(np.asarray(found["ahead"].total))
  head = f"{part + ', squared error a frame':28}"
  print(f"{head} {'one step':>9} {f'{horizon} ahead':>9} {'the last':>9}")
  for name, which in (("model", ""), ("copying", "copied_")):
    one, all_ = mean_of(f"{which}next")(found), over_all(f"{which}ahead")(found)
    last = _by_step(found[f"{which}ahead"])[-1]
    print(f"{name:28} {one:9.3f} {all_:9.3f} {last:9.3f}")


def draw_errors(found: Mapping[str, Sums], title: str, path: Path) -> None:
  """The error of each step ahead, of the model and of copying the last frame."""
  steps = {
    "model": _by_step(found["ahead"]),
    "copying": _by_step(found["copied_ahead"]),
  }
  forecasts.errors(steps, "squared error a frame", title, path)


def _by_step(sums: Sums) -> NDArray:
  """The mean of each of arrays `[K]`."""
  return np.asarray(sums.total) / np.maximum(np.asarray(sums.count), 1)


def given(source: Source[Clips]) -> Iterator[NDArray[np.float32]]:
  """The clips `[T, B, …]` of a part, without padding."""
  for batch in source:
    yield batch.frames[:, batch.weight[-1] > 0]


def to_come(path: str, shape: Shape, horizon: int) -> Iterator[NDArray[np.float32]]:
  """The sequences of a file as clips `[T + K, B, …]`, NaN where they are to go on.

  Raises:
    BadInput: it is no such file, or its frames are of another shape.
  """
  found = arrays.read(Path(path))
  if len(found) > 1:
    raise BadInput(f"input={path} has the arrays {', '.join(found)}: give one")
  [frames] = found.values()
  if frames.shape[2:] != shape:
    raise BadInput(
      f"input={path} has frames of the shape {frames.shape[2:]}, and the model reads "
      f"{tuple(shape)}: give such"
    )
  for first in range(0, len(frames), ROWS):
    own = np.moveaxis(grey(frames[first : first + ROWS]), 1, 0)
    unknown = np.full((horizon, *own.shape[1:]), np.nan, np.float32)
    yield np.concatenate([own, unknown])


def draw(
  model: FrameModel,
  params: Params,
  clips: NDArray,
  horizon: int,
  title: str,
  path: Path,
) -> None:
  """Some clips `[T, B, …]`, each frame of the context predicted from those before."""
  clips = clips[:, :DRAWN]
  found = predicted(model, params, clips, horizon)
  shown = [Shown(clips[:, i], found[:, i]) for i in range(clips.shape[1])]
  pictures.clips(shown, len(clips) - horizon, title, path)


def save(model: Loaded, clips: Iterator[NDArray], horizon: int, path: Path) -> None:
  """The last K frames of all clips, predicted, as an array `[N, K, …]` in a file."""
  each = [model.predict(model.params, some[:-horizon], horizon) for some in clips]
  np.savez(path, frames=np.moveaxis(np.concatenate(each, axis=1), 1, 0))


def predicted(
  model: FrameModel, params: Params, clips: NDArray, horizon: int
) -> NDArray[np.float32]:
  """All frames of clips `[T, B, …]` predicted: the last K from those before alone.

  The others are predicted one step ahead; the first, of which nothing is known, is NaN.
  """
  known = np.where(np.isfinite(clips), clips, 0).astype(np.float32)
  first, ahead = _apply(model, horizon)(params, jax.device_put(known))
  nothing = np.full_like(known[:1], np.nan)
  context = len(clips) - horizon
  return np.concatenate([nothing, np.asarray(first)[: context - 1], np.asarray(ahead)])


@functools.cache
def _apply(model: FrameModel, horizon: int) -> Any:
  @jax.jit
  def apply(params: Params, frames: Array) -> tuple[Array, Array]:
    logits: Any = model.apply(params, frames[:-1])[1]
    ahead: Any = model.apply(params, frames, horizon, method="ahead")
    return jax.nn.sigmoid(logits), jax.nn.sigmoid(ahead)

  return apply
