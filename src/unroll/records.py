"""The records of a run, read from its `metrics.jsonl` as they were written; no JAX."""

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

METRICS = "metrics.jsonl"
PER_SECOND = "_per_second"  # ends the name of the speed, after what is counted
# What evaluations are of: "online" is what was predicted before each update.
SPLITS = {"val": "validation", "online": "before learning"}

Record = dict[str, Any]


class Line(NamedTuple):
  """A whole line of the file.

  Attributes:
    number: from 1.
    text: without its end.
    record: what it says; None if it is damaged.
  """

  number: int
  text: bytes
  record: Record | None


def read(path: Path, *, warn: Callable[[str], Any] = warnings.warn) -> list[Record]:
  """The records of a `metrics.jsonl`, those of damaged lines passed over.

  Args:
    path: the file.
    warn: called with one sentence if lines are passed over.

  Raises:
    OSError: if the file cannot be read.
  """
  found = lines(path)
  if damaged := [line.number for line in found if line.record is None]:
    warn(f"{path}: {told(damaged)} passed over")
  return [line.record for line in found if line.record is not None]


def lines(path: Path) -> list[Line]:
  """The whole lines of a `metrics.jsonl`, damaged ones too.

  What follows the last line end was being written when someone looked, or when the
  writer was killed: it is no line yet.
  """
  texts = path.read_bytes().split(b"\n")[:-1]
  found = [Line(number, text, record(text)) for number, text in enumerate(texts, 1)]
  sound = [line.record for line in found if line.record is not None]
  # A measure is a number in every line that has it, or null where it was not finite.
  measures = {name for one in sound for name in one if _is_number(one[name])}
  return [
    line._replace(record=None) if _strange(line.record, measures) else line
    for line in found
  ]


class Tail:
  """The records of a `metrics.jsonl` that is being written, as they come.

  Args:
    path: the file, which need not be there yet.
  """

  def __init__(self, path: Path):
    self._path, self._at = path, 0

  def new(self) -> list[Record]:
    """Those that were written since the last call; damaged lines are passed over.

    A file that has become shorter is another one, and read from its start.
    """
    try:
      with self._path.open("rb") as file:
        if file.seek(0, 2) < self._at:
          self._at = 0
        file.seek(self._at)
        whole = file.read().rpartition(b"\n")[0]
    except FileNotFoundError:
      return []
    self._at += len(whole) + bool(whole)
    found = map(record, whole.split(b"\n"))
    return [one for one in found if one is not None]


def told(damaged: Sequence[int]) -> str:
  """Which lines are damaged, in words that go on with what is done to them."""
  if len(damaged) == 1:
    return f"line {damaged[0]} is damaged and"
  return f"{len(damaged)} lines, the first of them {damaged[0]}, are damaged and"


def record(text: bytes) -> Record | None:
  """The record in a line; None if there is none."""
  try:
    found = json.loads(text)
  except (ValueError, RecursionError):
    return None
  step = found.get("step") if isinstance(found, dict) else None
  return found if type(step) is int and 0 <= step < 2**53 else None


def measured(records: Sequence[Record], name: str) -> list[tuple[int, float | None]]:
  """The steps and values of a measure; None where it was not finite."""
  return [
    (one["step"], number(one[name]))
    for one in records
    if name in one and (one[name] is None or _is_number(one[name]))
  ]


def rate_of(records: Sequence[Record]) -> str:
  """The name of the speed: what a run counts, and "_per_second"."""
  names = (name for one in records for name in one if name.endswith(PER_SECOND))
  return next(names, f"targets{PER_SECOND}")


def number(value: Any) -> float | None:
  """A finite number; None for whatever else a record may hold."""
  # An int of JSON can be too large for a float.
  if _is_number(value) and abs(value) <= sys.float_info.max:
    return float(value)
  return None


def _strange(one: Record | None, measures: set[str]) -> bool:
  return one is not None and any(
    not (value is None or _is_number(value))
    for name, value in one.items()
    if name in measures
  )


def _is_number(value: Any) -> bool:
  return type(value) in (int, float)  # a bool is none
