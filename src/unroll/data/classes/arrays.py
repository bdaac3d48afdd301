"""Series with a label from NumPy's .npz files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data import archive
from unroll.data.classes.value import NAMES, Labelled
from unroll.types import BadInput


def read(path: Path) -> dict[str, Labelled]:
  """The parts of a file, or "all" of it.

  The arrays are `x [N, T, D]`, `[N, T]` for one feature a step, and `y [N]`; for
  series of different lengths `lengths [N]` beside them. Split already, they end in
  `_train`, `_val` and `_test`, as `x_train` does.

  Raises:
    BadInput: it is no such file; nothing in it is unpickled.
  """
  arrays = archive.read(path, "x and y")
  endings = {f"_{name}": name for name in NAMES} if "x_train" in arrays else {"": "all"}
  return {
    name: _part(path, arrays, ending)
    for ending, name in endings.items()
    if f"x{ending}" in arrays
  }


def unlabelled(path: Path) -> list[NDArray[np.float32]]:
  """The series of a file that has `x`, and perhaps `lengths`, alone."""
  arrays = archive.read(path, "x")
  if "x" in arrays:
    arrays["y"] = np.zeros(len(arrays["x"]), int)
  return list(_part(path, arrays, "").inputs)  # type: ignore[arg-type]


def _part(path: Path, arrays: dict[str, NDArray], ending: str) -> Labelled:
  missing = [name + ending for name in "xy" if name + ending not in arrays]
  if missing:
    raise BadInput(f"{path} has no array {missing[0]}, only {', '.join(arrays)}")
  x, y = arrays[f"x{ending}"], arrays[f"y{ending}"]
  if x.ndim == 2:
    x = x[..., None]
  if x.ndim != 3 or y.ndim != 1:
    raise BadInput(
      f"{path}: x{ending} {x.shape} must be [N, T, D] or [N, T], and y{ending} "
      f"{y.shape} [N]"
    )
  lengths = arrays.get(f"lengths{ending}", np.full(len(x), x.shape[1]))
  kinds: dict[str, tuple[Any, str]] = {"x": (x, "biuf"), "y": (y, "biuUS")}
  for name, (array, kind) in kinds.items():
    if array.dtype.kind not in kind:
      raise BadInput(f"{path}: {name}{ending} holds {array.dtype}, and no such values")
  if x.ndim != 3 or y.shape != (len(x),) or lengths.shape != (len(x),):
    raise BadInput(
      f"{path}: x{ending} {x.shape}, y{ending} {y.shape} and lengths {lengths.shape} "
      "must be [N, T, D] or [N, T], [N] and [N]"
    )
  if lengths.size and not 0 <= lengths.min() <= lengths.max() <= x.shape[1]:
    raise BadInput(f"{path}: lengths{ending} must be 0 to {x.shape[1]}, the T of x")
  x = x.astype(np.float32)
  series = [row[: int(length)] for row, length in zip(x, lengths)]
  for number, row in enumerate(series):
    if not np.isfinite(row).all():
      raise BadInput(
        f"{path}: x{ending}[{number}] is not finite; give its true steps in `lengths`"
      )
  labels = [str(label) for label in y.tolist()]
  places = [f"{path}, x{ending}[{number}]" for number in range(len(series))]
  return Labelled(series, labels, places)
