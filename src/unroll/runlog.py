"""What a run reports: `metrics.jsonl`, the truth, and TensorBoard events of it.

A record is a flat dict with a "step", such as `{"step": 100, "train/loss": 2.31}`. Both
files are appended by one unbuffered write a record, so that a killed run loses none.
TensorBoardX supplies the event format, but not its writer: that hands events to a
thread through a bounded queue, and once a full disk has killed the thread, training
waits on the queue for ever.
"""

import io
import json
import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from unroll import files
from unroll.types import BadInput


class RunLog:
  """The log of one run, a context manager.

  A run that is killed and resumed at a checkpoint ends with the lines of one that was
  never interrupted: opening drops every record of a later step, and a torn last line.

  Args:
    workdir: an existing directory; `metrics.jsonl` and the event files go there.
    step: the step resumed from; at 0 the log starts empty.

  Raises:
    BadInput: if a line of `metrics.jsonl` before the last is not a record.
    OSError: if the files cannot be written.
  """

  def __init__(self, workdir: str | os.PathLike[str], step: int = 0):
    workdir = Path(workdir)
    first = step + 1 if step else 0
    metrics = workdir / "metrics.jsonl"
    _drop(metrics, first)
    now = time.time_ns()
    # TensorBoard reads files in the order of their names: two of one second differ.
    events = (
      f"events.out.tfevents.{now // 10**9}.{socket.gethostname()}.{now % 10**9:09}"
    )
    self._metrics = open(metrics, "ab", buffering=0)  # noqa: SIM115
    self._events = open(workdir / events, "xb", buffering=0)  # noqa: SIM115
    started = SessionLog(
      status=SessionLog.START
    )  # hides what TensorBoard has from here
    self._add_event(Event(file_version="brain.Event:2"))
    self._add_event(Event(step=first, session_log=started))

  def write(self, record: Mapping[str, Any]) -> None:
    """Appends one record.

    Args:
      record: "step" and what was measured there: numbers (also scalar arrays), which
        become TensorBoard scalars, or any other JSON value. JSON has no NaN or
        infinity: they become null in `metrics.jsonl`, and stay in TensorBoard.

    Raises:
      OSError: if the disk is full.
    """
    plain = {key: _plain(value) for key, value in record.items()}
    scalars = [
      Summary.Value(tag=key, simple_value=x)
      for key, x in plain.items()
      if key != "step" and type(x) in (int, float)
    ]
    event = Event(step=plain["step"], summary=Summary(value=scalars))
    finite = {key: None if _non_finite(x) else x for key, x in plain.items()}
    _append(self._metrics, json.dumps(finite, allow_nan=False).encode() + b"\n")
    self._add_event(event)

  def close(self) -> None:
    """Closes both files."""
    self._metrics.close()
    self._events.close()

  def __enter__(self) -> "RunLog":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _add_event(self, event: Event) -> None:
    event.wall_time = time.time()
    data = event.SerializeToString()
    size = struct.pack("<Q", len(data))
    checks = [struct.pack("<I", masked_crc32c(part)) for part in (size, data)]
    _append(self._events, size + checks[0] + data + checks[1])


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """The records of a `metrics.jsonl`, without a torn last line.

  Raises:
    BadInput: if another line is not a record.
  """
  return [record for _, record in _lines(Path(path))]


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
  """Each whole line and its record; what follows the last newline is a torn write."""
  lines = path.read_bytes().split(b"\n")[:-1]
  records = []
  for number, line in enumerate(lines, 1):
    try:
      record = json.loads(line)
    except ValueError:
      record = None
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
      raise BadInput(
        f'{path}, line {number}: {line[:60]!r} is not a JSON object with a "step"; '
        "mend or remove the line"
      )
    records.append((line, record))
  return records


def _drop(path: Path, first: int) -> None:
  """Leaves only the records before step `first`."""
  old = _lines(path) if first and path.exists() else []
  kept = [line + b"\n" for line, record in old if record["step"] < first]
  files.write(path, b"".join(kept))


def _append(file: io.FileIO, data: bytes) -> None:
  try:
    while data:  # a write cut short by a full disk fails at its second call
      data = data[file.write(data) :]
  except OSError as error:
    raise OSError(
      f"{file.name} could not be written: {error.strerror}; "
      "make room, then resume with the same command"
    ) from None


def _plain(value: Any) -> Any:
  return value.item() if hasattr(value, "item") else value


def _non_finite(value: Any) -> bool:
  return isinstance(value, float) and not math.isfinite(value)
