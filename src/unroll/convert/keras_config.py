"""What a .keras file says of its layers beside their arrays: activations, and order."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unroll.data import archive
from unroll.types import BadInput

_VANILLA = {"tanh": "rnn", "relu": "relu_rnn", "linear": "linear_rnn"}
# What a recurrent layer of ours has no place for, by what it must be.
_FIXED = {
  "recurrent_activation": "sigmoid",
  "go_backwards": False,
  "stateful": False,
  "return_sequences": True,
}


def cell_of(path: Path) -> str:
  """The cell of ours that the recurrent layers of a .keras file are.

  Args:
    path: of any file of arrays.

  Returns:
    Its name; empty where the file says nothing of it, as others do.

  Raises:
    BadInput: a layer computes something else than any cell of ours.
  """
  if not path.name.endswith(".keras"):
    return ""
  text = member(path, "config.json")
  try:
    layers = list(_recurrent(json.loads(text)))
  except (ValueError, RecursionError) as error:
    raise BadInput(f"{path} is no .keras file ({error})") from None
  cells = {_cell(kind, own) for kind, own in layers}
  if len(cells) > 1:
    raise BadInput(f"{path} has layers of {', '.join(sorted(cells))}: no run has both")
  return cells.pop() if cells else ""


def member(path: Path, name: str) -> bytes:
  """One of the files within a .keras file.

  Raises:
    BadInput: it is none, damaged, or has no such file.
  """
  try:
    with zipfile.ZipFile(path) as held:
      return held.read(name)
  except (OSError, *archive.BROKEN) as error:
    raise BadInput(f"{path} is no .keras file ({error})") from None


def _recurrent(node: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """The recurrent layers within a configuration, with their settings."""
  if isinstance(node, list):
    for one in node:
      yield from _recurrent(one)
  if not isinstance(node, dict):
    return
  kind, own = node.get("class_name"), node.get("config")
  if kind in ("SimpleRNN", "GRU", "LSTM") and isinstance(own, dict):
    yield kind, own
    return
  for one in node.values():
    yield from _recurrent(one)


def _cell(kind: str, own: Mapping[str, Any]) -> str:
  activation = own.get("activation", "tanh")
  for name, needed in _FIXED.items():
    if own.get(name, needed) != needed:
      raise BadInput(
        f"{own.get('name', kind)} has {name}={own[name]}, and the cells here "
        f"{needed}: no run computes the same"
      )
  if kind == "SimpleRNN" and activation in _VANILLA:
    return _VANILLA[activation]
  if activation != "tanh":
    raise BadInput(
      f"{own.get('name', kind)} has activation={activation}, and the cells here tanh: "
      "no run computes the same"
    )
  if kind == "GRU":
    return "gru" if own.get("reset_after", True) else "gru_reset_before"
  return "lstm" if kind == "LSTM" else "rnn"
