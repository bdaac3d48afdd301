"""One run of an experiment, as a process: watched, stopped, tried again."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from launch.tether import tethered
from unroll.records import number, record

TRIES = 4  # at a run that crashes, in a row that no checkpoint came of
BAD_INPUT = 2  # the exit code of an experiment that cannot run at all
PAUSE = 0.05  # seconds between two looks at a run
GRACE = 60.0  # seconds that a run has to save and end
TOLD = 1.0  # seconds within which all processes of a job are told to end


class Outcome(NamedTuple):
  """How a run ended.

  Attributes:
    output: the object that it printed last, if it did.
    error: why it could not be run to an end, in a sentence; None if it could.
  """

  output: Any
  error: str | None


class Ended(NamedTuple):
  """How a process, or one run of a process that runs many, came to its end.

  Attributes:
    code: its exit code.
    text: its standard output.
    stopped: whether it was asked to stop.
  """

  code: int
  text: str
  stopped: bool


# (log, stop) -> its end: of a run that appends its output to the log, and ends with a
# checkpoint once `stop`, asked all the time, is true.
Once = Callable[[Path, Callable[[], bool]], Ended]


def command(module: str, flags: dict[str, str]) -> list[str]:
  """The command line of an experiment."""
  return [sys.executable, "-m", module, *arguments(flags)]


def arguments(flags: dict[str, str]) -> list[str]:
  """Flags as a command line has them."""
  return [f"--{name}={value}" for name, value in flags.items()]


def reached(workdirs: Iterable[Path]) -> int:
  """How far runs have come: the steps of their newest checkpoints, added up."""
  steps = 0
  for folder in workdirs:
    names = _names(folder / "checkpoints")
    steps += max([int(name) for name in names if name.isdecimal()], default=0)
  return steps


def follow(
  once: Once,
  log: Path,
  stop: Callable[[], bool],
  workdirs: Sequence[Path] = (),
) -> Outcome | None:
  """Runs something to its end, again where it crashes.

  Args:
    once: a run that resumes where it was, and prints an object at its end.
    log: a file, to which its output is appended.
    stop: asked all the time; true ends the run with a checkpoint.
    workdirs: where it saves: while checkpoints come of it, it is tried again.

  Returns:
    How it ended; None if it was stopped.
  """
  failures = 0
  while True:
    if stop() or not _wait(2.0**failures - 1, stop):
      return None
    before = reached(workdirs)
    code, output, stopped = once(log, stop)
    ended = _last_object(output)
    done = _finished(ended)
    # What ends a job tells all of its processes, and the run may hear of it first.
    stopped = stopped or stop() or (code == 0 and not done and not _wait(TOLD, stop))
    if stopped:  # it may have come to its end by itself just then
      return Outcome(ended, None) if done else None
    if code == 0:
      return Outcome(ended, None)
    if code == BAD_INPUT:
      return Outcome(None, _sentence(log))
    failures = 0 if reached(workdirs) > before else failures + 1
    if failures == TRIES:
      break
  how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
  return Outcome(None, f"{how}, {TRIES} times: {_sentence(log)}, see {log}")


def _finished(ended: Any) -> bool:
  """Whether what a run printed, or each of what runs in one program did, is an end."""
  each = ended if isinstance(ended, list) else [ended]
  return bool(each) and all(isinstance(o, dict) and o.get("finished") for o in each)


def _names(folder: Path) -> list[str]:
  try:
    return os.listdir(folder)
  except OSError:
    return []


def process(command: Sequence[str]) -> Once:
  """What runs a command, in a process of its own."""
  return functools.partial(_process, command)


def _process(command: Sequence[str], log: Path, stop: Callable[[], bool]) -> Ended:
  with tempfile.TemporaryFile() as output, open(log, "ab") as errors:
    child = subprocess.Popen(
      tethered(command), stdin=subprocess.DEVNULL, stdout=output, stderr=errors
    )
    stopped = False
    try:
      while child.poll() is None:
        if not stopped and stop():
          child.terminate()
          stopped, deadline = True, time.monotonic() + GRACE
        if stopped and time.monotonic() > deadline:
          child.kill()
        time.sleep(PAUSE)
    finally:
      _end(child)  # unless it has ended
    text = _read(output)
    errors.write(text.encode())
  return Ended(child.returncode, text, stopped)


def _end(child: "subprocess.Popen[bytes]") -> None:
  """Has a run that nobody watches any more save and end."""
  child.terminate()
  try:
    child.wait(GRACE)
  finally:
    child.kill()
    child.wait()


def _wait(seconds: float, stop: Callable[[], bool]) -> bool:
  """Waits; false if it was cut short."""
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline:
    if stop():
      return False
    time.sleep(PAUSE)
  return True


def _read(file: IO[bytes]) -> str:
  file.seek(0)
  return file.read().decode("utf-8", "replace")


def _last_object(text: str) -> Any:
  lines = text.strip().splitlines()
  with contextlib.suppress(ValueError):
    return json.loads(lines[-1]) if lines else None
  return None


def _sentence(log: Path) -> str:
  """The last line of a log, which is what an experiment says of its end."""
  with open(log, "rb") as file:
    file.seek(max(os.path.getsize(log) - 4096, 0))
    lines = file.read().decode("utf-8", "replace").strip().splitlines()
  return lines[-1].removeprefix("error: ") if lines else "it said nothing"


class Tail:
  """The evaluations in a `metrics.jsonl` that is being written.

  Args:
    path: the file, which need not be there yet.
    name: of the number that is followed.
  """

  def __init__(self, path: Path, name: str):
    self._path, self._name = path, name
    self._file = self._offset = self._count = 0

  def new(self) -> list[tuple[int, float]]:
    """Those since the last call: which evaluation, from 1, and its number.

    A run that resumes writes the file anew: its evaluations come again.
    """
    try:
      with open(self._path, "rb") as file:
        if (inode := os.fstat(file.fileno()).st_ino) != self._file:
          self._file, self._offset, self._count = inode, 0, 0
        file.seek(self._offset)
        whole = file.read().rpartition(b"\n")[0]
    except FileNotFoundError:
      return []
    self._offset += len(whole) + bool(whole)
    values = []
    for line in whole.splitlines():
      if (value := number((record(line) or {}).get(self._name))) is not None:
        self._count += 1
        values.append((self._count, value))
    return values
