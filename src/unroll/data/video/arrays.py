"""Frames from NumPy's .npz files, and how they are split."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data import archive
from unroll.data.splits import NAMES, by_fractions
from unroll.types import BadInput

SPLIT = "0.8,0.1,0.1"
LAYOUT = "[N, T, height, width] or [N, T, height, width, channels]"


def load(path: Path, split: str = "") -> dict[str, NDArray]:
  """The frames of "train", "val" and, where there is one, "test".

  Args:
    path: a file of one array, or of arrays with the names of the parts.
    split: train,val[,test] as fractions of the sequences, in order; "": 0.8,0.1,0.1.

  Returns:
    `[N, T, height, width, C]`, uint8 or floats from 0 to 1.

  Raises:
    BadInput: it is no such file; nothing in it is unpickled.
  """
  arrays = read(path)
  if len(arrays) > 1:
    if split:
      raise BadInput(f"split={split}: {path} is split already; leave `split` empty")
    found = {name: arrays[name] for name in NAMES if name in arrays}
    if len(found) < len(arrays) or not {"train", "val"} <= found.keys():
      raise BadInput(
        f"{path} has the arrays {', '.join(arrays)}: give one array, or train and val "
        "and perhaps test"
      )
    return _alike(path, found)
  [frames] = arrays.values()
  split = split or SPLIT
  parts = split.split(",")
  if not 2 <= len(parts) <= len(NAMES):
    raise BadInput(f"split={split} has {len(parts)} parts; it takes train,val[,test]")
  edges = by_fractions(parts, len(frames), split)
  for name, (start, stop) in zip(NAMES, edges):
    if start == stop:
      raise BadInput(
        f"split={split} of the {len(frames)} sequences of {path} leaves none for "
        f"{name}: give more"
      )
  return {name: frames[slice(*edge)] for name, edge in zip(NAMES, edges)}


def read(path: Path) -> dict[str, NDArray]:
  """The arrays of a file by name, each of frames: see `load`."""
  arrays = archive.read(path, f"frames, {LAYOUT}")
  return {name: _checked(f"{path}, {name}", array) for name, array in arrays.items()}


def _checked(where: str, frames: NDArray) -> NDArray:
  """An array of frames with its channels."""
  if frames.ndim not in (4, 5) or 0 in frames.shape:
    raise BadInput(f"{where} has the shape {frames.shape}: give {LAYOUT}")
  if frames.dtype != np.uint8 and frames.dtype.kind != "f":
    raise BadInput(
      f"{where} holds {frames.dtype}: give uint8 from 0 to 255, or floats from 0 to 1"
    )
  low, high = frames.min(), frames.max()
  if frames.dtype != np.uint8 and not 0 <= low <= high <= 1:  # nor if it is NaN
    raise BadInput(
      f"{where} holds floats from {low:g} to {high:g}: scale them to 0 to 1"
    )
  return frames if frames.ndim == 5 else frames[..., None]


def _alike(path: Path, parts: Mapping[str, NDArray]) -> dict[str, NDArray]:
  """Parts whose frames are of one size."""
  sizes = {name: frames.shape[2:] for name, frames in parts.items()}
  for name, size in sizes.items():
    if size != sizes["train"]:
      raise BadInput(
        f"{path}: frames of {name} are {size} and those of train {sizes['train']}: "
        "make them alike"
      )
  return dict(parts)
