"""The safetensors format: a header in JSON, and the arrays behind it, in storage order.

Eight bytes say how long the header is; it has for each name the type, the shape, and
where the array lies. The format is that of https://github.com/huggingface/safetensors;
files of either are read by the other. Nothing in a file is run.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from unroll.types import BadInput

TYPES: dict[str, np.dtype] = {
  **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
  **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
  **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
  "BOOL": np.dtype("?"),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
  "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}
_NAMES = {kind: name for name, kind in TYPES.items()}
_ALIGNED = 8  # bytes that the header is a multiple of, so that arrays lie aligned
_LONGEST = 100_000_000  # bytes of a header, as in the original


def dumps(arrays: Mapping[str, NDArray[Any]], note: Mapping[str, str] = {}) -> bytes:
  """A file of arrays, whatever lies in memory behind them: views are copied.

  Args:
    arrays: by name.
    note: texts that go with them.

  Raises:
    BadInput: there is no such type in the format.
  """
  header: dict[str, Any] = {"__metadata__": dict(note)} if note else {}
  parts, start = [], 0
  # From wide types to narrow ones, so that each array lies aligned.
  for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
    array = arrays[name]
    kind = array.dtype.newbyteorder("<")
    if kind not in _NAMES:
      raise BadInput(f"{name} is {array.dtype}, a type that safetensors has not")
    parts.append(array.astype(kind, copy=False).tobytes())  # in C order
    end = start + len(parts[-1])
    place = {"shape": list(array.shape), "data_offsets": [start, end]}
    header[name] = {"dtype": _NAMES[kind], **place}
    start = end
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % _ALIGNED)
  return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def loads(data: bytes, where: str) -> dict[str, NDArray[Any]]:
  """The arrays of a file.

  Args:
    data: the file.
    where: what to call it when something is wrong with it.

  Raises:
    BadInput: it is no such file, or damaged.
  """
  size = int.from_bytes(data[:8], "little")
  body = memoryview(data)[8 + size :]
  try:
    if not 2 <= size <= min(_LONGEST, len(data) - 8):
      raise ValueError("its header does not fit into it")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    found = {name: _array(body, **entry) for name, entry in header.items()}
    if sum(array.nbytes for array in found.values()) != len(body):
      raise ValueError("its header says nothing of some bytes")
  except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
    raise BadInput(f"{where} is no safetensors file, or damaged: {error}") from None
  return found


def _array(
  body: memoryview, dtype: str, shape: list[int], data_offsets: list[int]
) -> NDArray[Any]:
  start, end = data_offsets
  kind = TYPES[dtype]
  if not 0 <= start <= end <= len(body) or min(shape, default=0) < 0:
    raise ValueError("an array lies outside")
  if math.prod(shape) * kind.itemsize != end - start:
    raise ValueError("an array is not as long as its shape says")
  array = np.frombuffer(body[start:end], kind).reshape(shape)
  return array.astype(kind.newbyteorder("="))
