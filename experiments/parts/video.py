"""Video as settings choose it, moving shapes or a file; copying beside a model."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.session.task import Evaluation
from unroll.data.batches import Source
from unroll.data.video import arrays
from unroll.data.video.clips import Clips, Stored
from unroll.data.video.moving import EVALUATION, Moving
from unroll.metrics import Measure, mean_of
from unroll.models.frames import Shape
from unroll.settings import setting
from unroll.types import BadInput, Sums

EPOCH = 1000  # batches, as there is no end of moving shapes
ROWS, EVALUATED = 64, 4  # clips side by side in an evaluation, and its batches


@dataclass(frozen=True)
class Video:
  """Video"""

  data: str = setting(
    "",
    "an .npz file of frames [N, T, height, width] or [N, T, height, width, channels], "
    "uint8 or floats from 0 to 1; empty: moving shapes",
    kind="path",
    role="data",
  )
  split: str = setting(
    "",
    "train,val[,test] as fractions of the sequences of data, in order; empty: "
    f"{arrays.SPLIT}",
  )
  size: int = setting(16, "width and height of the frames of moving shapes", most=1024)
  shapes: int = setting(2, "moving shapes in a frame", least=1, most=100)
  context: int = setting(8, "frames that are read before the first to predict", least=1)
  horizon: int = setting(8, "frames to predict from the context alone", least=1)


class Data(NamedTuple):
  """What there is to learn from.

  Attributes:
    name: of the file, or what is in the frames.
    shape: of a frame.
    train: (batch, seed, columns, free) -> training batches.
    parts: "val" and, where there is one, "test".
    digest: sha256 of the frames.
  """

  name: str
  shape: Shape
  train: Callable[[int, int, slice, bool], Source[Clips]]
  parts: Mapping[str, Source[Clips]]
  digest: str


def load(chosen: Video) -> Data:
  """The frames that the settings name.

  Raises:
    BadInput: the settings do not fit one another, or the file is faulty.
  """
  return _stored(chosen) if chosen.data else _moving(chosen)


def _moving(chosen: Video) -> Data:
  if chosen.split:
    raise BadInput(f"split={chosen.split} is for frames of `data`: leave it out")
  length = chosen.context + chosen.horizon
  moving = functools.partial(Moving, chosen.size, chosen.shapes)
  parts = {
    part: moving(
      ROWS, length, horizon=chosen.horizon, seed=EVALUATION + n, batches=EVALUATED
    )
    for n, part in enumerate(("val", "test"))
  }
  return Data(
    f"{chosen.shapes} moving shapes",
    Shape(chosen.size, chosen.size, 1),
    lambda batch, seed, columns, free: moving(
      *(batch, length),
      **_ahead(chosen, free),
      seed=seed,
      batches=EPOCH,
      columns=columns,
    ),
    parts,
    parts["val"].digest(),
  )


def _stored(chosen: Video) -> Data:
  for name in ("size", "shapes"):
    if getattr(chosen, name) != getattr(Video, name):
      raise BadInput(
        f"{name}={getattr(chosen, name)} is of moving shapes, and data={chosen.data} "
        "holds others: leave it out"
      )
  frames = arrays.load(Path(chosen.data), chosen.split)
  length, found = chosen.context + chosen.horizon, hashlib.sha256()
  for part, own in frames.items():
    if own.shape[1] < length:
      raise BadInput(
        f"{chosen.data}: sequences of {part} have {own.shape[1]} frames, fewer than "
        f"context={chosen.context} and horizon={chosen.horizon}: lower one of them"
      )
    found.update(f"{part} {own.shape} {own.dtype} ".encode())
    found.update(np.ascontiguousarray(own).data)
  return Data(
    Path(chosen.data).name,
    Shape(*frames["train"].shape[2:]),
    lambda batch, seed, columns, free: Stored(
      *(frames["train"], batch, length),
      **_ahead(chosen, free),
      seed=seed,
      columns=columns,
    ),
    {
      part: Stored(own, ROWS, length, horizon=chosen.horizon, shuffle=False)
      for part, own in frames.items()
      if part != "train"
    },
    found.hexdigest(),
  )


def _ahead(chosen: Video, free: bool) -> dict[str, Any]:
  """What training asks for beyond the next frame: see `clips`."""
  return {"horizon": chosen.horizon, "free": True} if free else {}


def copied(source: Source[Clips]) -> dict[str, Sums]:
  """The squared errors of copying, over an epoch of a source that asks for K frames.

  Returns:
    "copied_next": of copying the frame before, a frame's; "copied_ahead": arrays `[K]`,
    of copying the last frame of the context.
  """
  total: dict[str, np.ndarray] = {}
  for frames, weight, ahead in source:
    assert ahead is not None
    horizon, frames = len(ahead), frames.astype(np.float64)
    last = frames[-horizon - 1 : -horizon]
    each = {
      "copied_next": (np.square(frames[1:] - frames[:-1]), weight[1:], None),
      "copied_ahead": (np.square(frames[-horizon:] - last), ahead, 1),
    }
    for name, (error, counted, axis) in each.items():
      own = error.sum((2, 3, 4)) * counted
      both = np.stack([own.sum(axis), counted.sum(axis, dtype=np.float64)])
      total[name] = total.get(name, 0) + both
  return {name: Sums(*both) for name, both in total.items()}


def evaluations(data: Data) -> dict[str, Evaluation]:
  """How each part is evaluated, beside copying."""
  return {
    part: Evaluation({"clips": source}, copied(source))
    for part, source in data.parts.items()
  }


def over_all(name: str) -> Callable[[Mapping[str, Sums]], float]:
  """`Measure.of` for the mean of a sum of arrays `[K]`."""

  def mean(sums: Mapping[str, Sums]) -> float:
    total, count = (np.sum(leaf) for leaf in sums[name])
    return float(total / np.maximum(count, 1))

  return mean


def measures(horizon: int, facts: Mapping[str, Sums]) -> tuple[Measure, ...]:
  """What people read of an evaluation; an error is a frame's, summed over its pixels.

  Args:
    horizon: K.
    facts: the errors of copying over the validation part.
  """
  unit, ways = "squared error a frame", {"ahead": over_all, "next": mean_of}
  told = {"ahead": f"over {horizon} predicted ahead", "next": "one step ahead"}
  found = {}
  for name, mean in ways.items():
    value = mean(f"copied_{name}")(facts)
    found[name] = Measure(
      name,
      unit,
      "lower",
      mean(name),
      form=".2f",
      label=f"{unit} {told[name]}",
      logged=name == "next",
      beside=(value, f"copying: {value:.4g}"),
    )
    found[f"copied_{name}"] = Measure(
      f"copied_{name}",
      "",
      "lower",
      mean(f"copied_{name}"),
      form=".2f",
      label="by copying",
      drawn=False,
    )
  ahead, copied_ahead, *following = found.values()
  share = Measure(
    "of_copied",
    "",
    "lower",
    lambda sums: ahead.of(sums) / max(copied_ahead.of(sums), 1e-9),
    form=".1%",
    label="of that",
    drawn=False,
  )
  loss = Measure("loss", "nats a pixel", "lower", mean_of("loss"), form=".4f")
  return ahead, copied_ahead, share, *following, loss
