"""The arrays of NumPy's .npz files, by name; nothing in them is unpickled."""

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.errors import BadInput

# What NumPy raises for a file that is damaged, or no such file.
BROKEN = (
  *(ValueError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile, zlib.error),
  *(
    SyntaxError,
    tokenize.TokenError,
  ),  # of a header, which is read as Python's literals
)


def read(path: Path, wanted: str) -> dict[str, NDArray]:
  """The arrays of a file, at least one.

  Args:
    path: the file.
    wanted: what it should hold, in words for those whose file holds something else.

  Raises:
    BadInput: it cannot be read, is damaged, or is no .npz file.
  """
  try:
    # Opened here: NumPy leaves a file open that is damaged.
    with open(path, "rb") as opened, np.load(opened) as file:
      arrays = {name: file[name] for name in file.files}
  except OSError as error:
    said = error.strerror or error
    raise BadInput(f"{path} cannot be read ({said}): give a .npz file") from None
  except BROKEN as error:
    raise BadInput(
      f"{path} cannot be read ({error}): give a .npz file of numbers"
    ) from None
  except (AttributeError, TypeError):  # a lone .npy file is no archive
    raise BadInput(f"{path} is one array: give a .npz file with {wanted}") from None
  if not arrays:
    raise BadInput(f"{path} has no array in it: give one with {wanted}")
  return arrays
