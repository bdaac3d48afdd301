"""Standard output and error, which cannot end a run.

A full disk under them, or a reader that has gone, loses what is shown and nothing else:
training goes on. What an encoding lacks is shown as an escape. Nothing stands in a
buffer when a signal comes, whose handler may write too.
"""

import contextlib
import json
import math
import os
import select
import sys
from typing import Any


def reopen() -> None:
  """Opens those standard streams that the process was started without, on nothing.

  It is for the start of a process: the next files would take their numbers, and what
  libraries print of themselves would be written into them.
  """
  for number, name in enumerate(("stdin", "stdout", "stderr")):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if getattr(sys, name) is None:
      setattr(sys, name, open(number, "w" if number else "r"))  # noqa: SIM115


def protect() -> None:
  """Puts a `Stream` in the place of standard output and error."""
  sys.stdout, sys.stderr = Stream(sys.stdout), Stream(sys.stderr)


def renew() -> None:
  """Forgets what standard output and error of a run that has ended could not take."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, Stream):
      stream.error = None


class Stream:
  """A text stream that writes line by line, and drops what it cannot write.

  Args:
    stream: what it writes to, a file.

  Attributes:
    error: why something was dropped; None if nothing was.
  """

  def __init__(self, stream: Any):
    self._stream, self._pending = stream, ""
    self.error: OSError | None = None
    with contextlib.suppress(OSError):
      stream.flush()

  def write(self, text: str) -> int:
    """Takes text; writes it once a line is whole."""
    self._pending += text
    if "\n" in text:
      self.flush()
    return len(text)

  def flush(self) -> None:
    """Writes what was taken."""
    text, self._pending = self._pending, ""
    data = text.encode(self._stream.encoding, "backslashreplace")
    while data and self.error is None:
      try:
        data = data[os.write(self._stream.fileno(), data) :]
      except BlockingIOError:  # a terminal or pipe may be shared with one who set that
        select.select([], [self._stream], [])
      except OSError as error:
        self.error = error

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)


def as_json(value: Any) -> str:
  """A value as JSON, which has no NaN or infinity: they become null."""
  return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _finite(each) for name, each in value.items()}
  if isinstance(value, list):
    return list(map(_finite, value))
  return None if isinstance(value, float) and not math.isfinite(value) else value
