"""The log of a run: `metrics.jsonl`, the truth, and TensorBoard events of it.

A record is a flat dict with a "step", such as `{"step": 100, "train/loss": 2.31}`. Both
files are appended by one unbuffered write a record, so that a killed run loses none;
`sync` is for power cuts. `records` reads them.
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
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unroll import files, records
from unroll.records import METRICS

_EVENTS = "events.out.tfevents"


class RunLog:
  """The log of one run, a context manager.

  A run that is killed and resumed at a checkpoint ends with the lines of one that was
  never interrupted: opening drops every record of a later step, and a torn last line.
  What a power cut or a hand has taken from the earlier ones is said, and the run goes
  on: damaged lines are left out, and stand in `metrics.jsonl.damaged`.

  Args:
    workdir: an existing directory; `metrics.jsonl` and the event files go there.
    step: the step resumed from, of a run that has logged every step; at 0 the log
      starts empty.
    warn: called with one sentence if lines are damaged, and with one if lines are
      missing.

  Raises:
    OSError: if the files cannot be written.
  """

  def __init__(
    self,
    workdir: str | os.PathLike[str],
    step: int = 0,
    *,
    warn: Callable[[str], Any] = warnings.warn,
  ):
    workdir = Path(workdir)
    self._first: int | None = step + 1 if step else 0
    metrics = workdir / METRICS
    files.write(metrics, _resumed(metrics, step, warn))
    self._metrics = open(metrics, "ab", buffering=0)  # noqa: SIM115
    self._events = open(_new_events(workdir), "xb", buffering=0)  # noqa: SIM115
    files.sync(workdir)  # the name of the event file

  def write(self, record: Mapping[str, Any]) -> None:
    """Appends one record.

    Args:
      record: "step" and what was measured there: numbers (also scalar arrays), which
        become TensorBoard scalars, or any other JSON value. JSON has no NaN or
        infinity: they become null in `metrics.jsonl`, and stay in TensorBoard.

    Raises:
      OSError: if the disk is full.
    """
    step, plain = record["step"], {key: _plain(x) for key, x in record.items()}
    scalars = {
      key: x for key, x in plain.items() if key != "step" and type(x) in (int, float)
    }
    finite = {key: None if _non_finite(x) else x for key, x in plain.items()}
    _append(self._metrics, json.dumps(finite, allow_nan=False).encode() + b"\n")
    self._add_events(step, scalars)

  def sync(self) -> None:
    """Has all that was written survive a power cut; before each checkpoint.

    Raises:
      OSError: if the disk does not take it.
    """
    for file in (self._metrics, self._events):
      try:
        os.fsync(file.fileno())
      except OSError as error:
        raise _not_written(file, error) from None

  def close(self) -> None:
    """Closes both files."""
    self._metrics.close()
    self._events.close()

  def __enter__(self) -> "RunLog":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _add_events(self, step: int, scalars: Mapping[str, float]) -> None:
    # Imported here: a device is at work by the time that there is something to write.
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import masked_crc32c

    values = [Summary.Value(tag=key, simple_value=x) for key, x in scalars.items()]
    events = [Event(step=step, summary=Summary(value=values))]
    if self._first is not None:
      # Hides what TensorBoard has from here.
      started = SessionLog(status=SessionLog.START)
      begin = Event(step=self._first, session_log=started)
      events = [Event(file_version="brain.Event:2"), begin, *events]
      self._first = None
    for event in events:
      event.wall_time = time.time()
      data = event.SerializeToString()
      size = struct.pack("<Q", len(data))
      checks = [struct.pack("<I", masked_crc32c(part)) for part in (size, data)]
      _append(self._events, size + checks[0] + data + checks[1])


def _resumed(path: Path, step: int, warn: Callable[[str], Any]) -> bytes:
  """The lines up to a step; says which are damaged, and how many are missing."""
  if not step:
    return b""
  found = records.lines(path) if path.exists() else []
  if damaged := [line.number for line in found if line.record is None]:
    copy = path.with_name(f"{path.name}.damaged")
    files.write(copy, path.read_bytes())
    them = "it" if len(damaged) == 1 else "them"
    warn(f"{path}: {records.told(damaged)} left out; {copy} is a copy with {them}")
  kept = [
    (line.record["step"], line.text)
    for line in found
    if line.record is not None and line.record["step"] <= step
  ]
  seen = {number for number, _ in kept if number}
  if len(seen) < step:
    first = next(number for number in range(1, step + 1) if number not in seen)
    warn(
      f"{path} lacks the lines of {step - len(seen):,} of {step:,} steps, the first is "
      f"step {first:,}: the run goes on without them"
    )
  return b"".join(text + b"\n" for _, text in kept)


def _new_events(workdir: Path) -> Path:
  """The next event file: TensorBoard reads them in the order of their names."""
  before = [path.name.split(".")[3] for path in workdir.glob(f"{_EVENTS}.*")]
  # Also where the clock has been set back.
  last = max((int(second) for second in before if second.isdecimal()), default=0)
  second = max(int(time.time()), last + 1)
  return workdir / f"{_EVENTS}.{second:010}.{socket.gethostname()}"


def _append(file: io.FileIO, data: bytes) -> None:
  try:
    while data:  # a write cut short by a full disk fails at its second call
      data = data[file.write(data) :]
  except OSError as error:
    raise _not_written(file, error) from None


def _not_written(file: io.FileIO, error: OSError) -> OSError:
  return OSError(
    f"{file.name} could not be written: {error.strerror}; make room or the folder "
    "writable, then resume with the same command"
  )


def _plain(value: Any) -> Any:
  return value.item() if hasattr(value, "item") else value


def _non_finite(value: Any) -> bool:
  return isinstance(value, float) and not math.isfinite(value)
