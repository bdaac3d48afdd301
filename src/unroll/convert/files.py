"""Files of arrays by name, of NumPy and of frameworks; nothing is unpickled."""

import contextlib
import importlib
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import serialization, traverse_util
from numpy.typing import NDArray

from unroll import files
from unroll.convert import keras_config
from unroll.data import archive
from unroll.types import BadInput

Named = dict[str, NDArray[Any]]
_SAFETENSORS = ("safetensors files", "pip install -e '.[convert]'")
# What else Keras saves: what the optimiser keeps, and the state of dropout.
_NO_WEIGHT = re.compile(r"^optimizer|(^|/)(metrics|seed_generator)/")


def read(path: Path) -> Named:
  """The arrays of a file, by name.

  Args:
    path: `.safetensors`, `.npz`, `.msgpack` of Flax, `.eqx` of Equinox, `.pt`, `.pth`
      or `.bin` (needs torch), `.h5` or `.keras` (needs h5py).

  Raises:
    BadInput: it cannot be read, is none of these, or damaged.
  """
  _, load, _ = _kind(path)
  try:
    return load(path)
  except OSError as error:
    raise BadInput(f"{path} cannot be read ({error.strerror or error})") from None


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
  """Writes a file of arrays, in one piece of memory each.

  Args:
    path: `.safetensors`, `.npz`, `.msgpack`, `.eqx`, `.pt` (needs torch) or
      `.weights.h5` (needs h5py).
    arrays: by name.

  Raises:
    BadInput: there is no such kind of file, or a package is missing.
    OSError: it cannot be written.
  """
  check(path)
  _, _, dump = _kind(path)
  assert dump is not None
  try:
    files.write(path, dump(arrays))
  except FileNotFoundError:
    raise BadInput(f"{path.parent} is no folder: make it, or give another") from None


def check(path: Path) -> None:
  """Refuses a file that `write` could not write, by its name.

  Raises:
    BadInput: there is no such kind of file, or a package is missing.
  """
  ending, _, dump = _kind(path)
  if dump is None:
    able = [ending for ending, (_, dump) in KINDS.items() if dump is not None]
    raise BadInput(f"{path}: {ending} is read, not written: give {', '.join(able)}")
  dump({})


def _kind(path: Path) -> tuple[str, Callable, Callable | None]:
  for ending, (load, dump) in KINDS.items():
    if path.name.endswith(ending):
      return ending, load, dump
  raise BadInput(f"{path} ends in none of {', '.join(KINDS)}")


def _load_npz(path: Path) -> Named:
  return archive.read(path, "the weights by name")


def _dump_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
  out = io.BytesIO()
  np.savez(out, **arrays)  # type: ignore[arg-type]
  return out.getvalue()


def _load_safetensors(path: Path) -> Named:
  safetensors = _package("safetensors", *_SAFETENSORS)
  try:
    # Of its bytes in place of the file version 0.8.0 reads no bfloat16.
    return _package("safetensors.numpy", *_SAFETENSORS).load_file(path)
  # Of a float8 that it writes itself, version 0.8.0 raises AttributeError.
  except (safetensors.SafetensorError, AttributeError, ValueError) as error:
    raise BadInput(
      f"{path} is no safetensors file of numbers, or damaged: {error}"
    ) from None


def _dump_safetensors(arrays: Mapping[str, NDArray[Any]]) -> bytes:
  library = _package("safetensors.numpy", *_SAFETENSORS)
  # It writes the memory behind a view, such as a transposed matrix, in storage order.
  return library.save({n: np.asarray(array, order="C") for n, array in arrays.items()})


def _load_torch(path: Path) -> Named:
  torch = _package("torch", "torch.save files", "pip install torch")
  data = io.BytesIO(path.read_bytes())
  try:
    held = torch.load(data, map_location="cpu", weights_only=True)
  except Exception:  # whatever it finds wrong with the file
    raise BadInput(
      f"{path} holds more than weights, or is no file of torch.save: save "
      "model.state_dict()"
    ) from None
  held = held.get("state_dict", held) if isinstance(held, dict) else held
  if not isinstance(held, dict) or not all(map(torch.is_tensor, held.values())):
    raise BadInput(f"{path} is no state dict: save model.state_dict()")
  return {name: _of_tensor(torch, tensor) for name, tensor in held.items()}


def _of_tensor(torch: Any, tensor: Any) -> NDArray[Any]:
  half = tensor.dtype in (torch.bfloat16, torch.float16)
  return tensor.detach().to(torch.float32 if half else tensor.dtype).numpy()


def _dump_torch(arrays: Mapping[str, NDArray[Any]]) -> bytes:
  torch = _package("torch", "torch.save files", "pip install torch")
  out = io.BytesIO()
  torch.save({name: torch.tensor(array) for name, array in arrays.items()}, out)
  return out.getvalue()


def _load_h5(path: Path) -> Named:
  return _h5(path.read_bytes(), path)


def _h5(data: bytes, path: Path) -> Named:
  h5py = _package("h5py", "HDF5 files", "pip install -e '.[convert]'")
  found: Named = {}

  def visit(name: str, held: Any) -> None:
    if isinstance(held, h5py.Dataset) and not _NO_WEIGHT.search(name):
      found[name] = np.asarray(held)

  try:
    with h5py.File(io.BytesIO(data), "r") as file:
      file.visititems(visit)
  except (OSError, *archive.BROKEN, OverflowError, TypeError) as error:
    raise BadInput(f"{path} is no HDF5 file, or damaged ({error})") from None
  return found


def _dump_h5(arrays: Mapping[str, NDArray[Any]]) -> bytes:
  h5py = _package("h5py", "HDF5 files", "pip install -e '.[convert]'")
  out = io.BytesIO()
  with h5py.File(out, "w") as file:
    for name, array in arrays.items():
      file[name] = array
  return out.getvalue()


def _load_keras(path: Path) -> Named:
  return _h5(keras_config.member(path, "model.weights.h5"), path)


def _load_msgpack(path: Path) -> Named:
  data = path.read_bytes()
  try:
    held = serialization.msgpack_restore(data)
    found = traverse_util.flatten_dict(held, sep="/")
    return {name: np.asarray(array) for name, array in found.items()}
  except Exception as error:  # whatever it finds wrong with the file
    raise BadInput(f"{path} is no file of flax.serialization ({error})") from None


def _dump_msgpack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
  return serialization.msgpack_serialize(
    traverse_util.unflatten_dict(dict(arrays), sep="/")
  )


def _load_eqx(path: Path) -> Named:
  """The leaves of a model whose fields are embed, cells and output, in this order."""
  data = path.read_bytes()
  stream, leaves = io.BytesIO(data), []
  try:
    while stream.tell() < len(data):
      leaves.append(np.load(stream))
  except (OSError, *archive.BROKEN) as error:
    raise BadInput(f"{path} is no file of tree_serialise_leaves ({error})") from None
  axes = "".join(str(leaf.ndim) for leaf in leaves)
  match = re.fullmatch(r"(2?)((?:221)+|(?:2211)+)(21)", axes)
  if not match:
    raise BadInput(
      f"{path} has leaves of {', '.join(axes)} axes: give a model whose fields are an "
      "embedding, a list of LSTMCell or of GRUCell, and a Linear, in this order"
    )
  own = ("weight_ih", "weight_hh", "bias", "bias_n")
  size = 4 if "11" in match[2] else 3
  inner = [f"cells/{i // size}/{own[i % size]}" for i in range(len(match[2]))]
  names = [*["embed/weight"] * len(match[1]), *inner, "output/weight", "output/bias"]
  return dict(zip(names, leaves, strict=True))


def _dump_eqx(arrays: Mapping[str, NDArray[Any]]) -> bytes:
  out = io.BytesIO()
  for array in arrays.values():
    np.save(out, array)
  return out.getvalue()


def _package(name: str, what: str, how: str) -> Any:
  with contextlib.suppress(ImportError):
    return importlib.import_module(name)
  raise BadInput(f"{what} need the package {name}: {how} brings it")


KINDS: dict[str, tuple[Callable[[Path], Named], Callable | None]] = {
  ".safetensors": (_load_safetensors, _dump_safetensors),
  ".npz": (_load_npz, _dump_npz),
  ".pt": (_load_torch, _dump_torch),
  ".pth": (_load_torch, _dump_torch),
  ".bin": (_load_torch, None),
  ".keras": (_load_keras, None),
  ".h5": (_load_h5, _dump_h5),
  ".msgpack": (_load_msgpack, _dump_msgpack),
  ".eqx": (_load_eqx, _dump_eqx),
}
