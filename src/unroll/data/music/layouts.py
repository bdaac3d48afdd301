"""Files of piano rolls, in the two layouts that the literature passes them on in.

JSON is that of Huang et al. (2017), MATLAB that of Bai et al. (2018); both hold the
sets of Boulanger-Lewandowski et al. (2012).
"""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from unroll.data.music.rolls import HIGHEST, KEYS, LOWEST, Roll
from unroll.types import BadInput

# What each part is called in files and folders.
PARTS = {"train": ("train",), "val": ("valid", "val", "validation"), "test": ("test",)}

Parts = dict[str, tuple[Roll, ...]]


def _json(data: bytes, name: str) -> Parts:
  """From `{"train": [piece], …}`, a piece a list of steps, a step one of pitches."""
  layout = "lists of pieces, which are lists of steps, which are lists of pitches"
  try:
    found = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise BadInput(f"{name} is not JSON ({error}): give {layout}") from None
  if not isinstance(found, dict):
    raise BadInput(f"{name} has no train and valid: give {layout} under these names")
  parts = {}
  for part, names in PARTS.items():
    for key in names:
      if key in found:
        where = f"{name}, {key}"
        parts[part] = tuple(
          _of_pitches(piece, f"{where}, piece {number}", layout)
          for number, piece in enumerate(_list(found[key], where, layout))
        )
  return parts


def _of_pitches(piece: Any, where: str, layout: str) -> Roll:
  steps = _list(piece, where, layout)
  out = np.zeros((len(steps), KEYS), np.uint8)
  for t, step in enumerate(steps):
    for pitch in _list(step, f"{where}, step {t}", layout):
      if pitch == -1:  # a voice that is silent
        continue
      if type(pitch) is not int or not LOWEST <= pitch <= HIGHEST:
        raise BadInput(
          f"{where}, step {t}: {pitch!r} is no pitch from {LOWEST} to {HIGHEST} (A0 to "
          "C8); -1 is a silent voice"
        )
      out[t, pitch - LOWEST] = 1
  return out


def _list(value: Any, where: str, layout: str) -> list[Any]:
  if not isinstance(value, list):
    raise BadInput(f"{where}: {str(value)[:40]} is no list; give {layout}")
  return value


def _mat(data: bytes, name: str) -> Parts:
  """From cells `traindata`, `validdata` and `testdata` of 0 and 1, `[T, 88]` each."""
  from scipy.io import loadmat

  layout = f"cells traindata, validdata and testdata of matrices [T, {KEYS}] of 0 and 1"
  try:
    found = loadmat(io.BytesIO(data))
  except Exception as error:  # of many kinds, whatever stands in the bytes
    raise BadInput(
      f"{name} is no MATLAB file up to version 7.2 ({error}): give {layout}"
    ) from None
  parts = {}
  for part, names in PARTS.items():
    for key in (f"{each}data" for each in names):
      cells = found.get(key)
      if cells is None:
        continue
      if cells.dtype != object:
        raise BadInput(f"{name}: {key} holds no cells; give {layout}")
      parts[part] = tuple(
        _of_matrix(cell, f"{name}, {key}, piece {number}", layout)
        for number, cell in enumerate(cells.flat)
      )
  return parts


def _of_matrix(cell: Any, where: str, layout: str) -> Roll:
  array = np.asarray(cell)
  numbers = array.dtype.kind in "buif"
  if not numbers or array.ndim != 2 or array.shape[1] != KEYS:
    raise BadInput(f"{where} is {array.dtype}{list(array.shape)}: give {layout}")
  if not np.isin(array, (0, 1)).all():
    raise BadInput(f"{where} has other numbers than 0 and 1: give {layout}")
  return array.astype(np.uint8)


READERS: dict[str, Callable[[bytes, str], Parts]] = {
  ".json": _json,
  ".mat": _mat,
}
