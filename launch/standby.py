"""A process that a worker keeps, which runs one trial after another.

What is imported and compiled for one trial serves the next: that process is
`experiments.session.standby`. One in which a run has failed, or that cannot give a run
the devices that it asks for, ends, and a fresh one takes its place.
"""

import ast
import importlib.util
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launch import run
from launch.tether import tethered

SERVER = "experiments.session.standby"


def serves(module: str) -> bool:
  """Whether a module is a page, which such a process can run; told by its source."""
  try:
    spec = importlib.util.find_spec(module)
    body = ast.parse(Path(str(spec and spec.origin)).read_text("utf-8")).body
  except (ImportError, ValueError, OSError, SyntaxError):
    return False
  return any(
    isinstance(target, ast.Name) and target.id == "PAGE"
    for line in body
    if isinstance(line, ast.Assign)
    for target in line.targets
  )


class Standby:
  """Runs a page, most often in the process that ran it before.

  Args:
    module: of the page.
  """

  def __init__(self, module: str):
    self._module = module
    self._child: subprocess.Popen[bytes] | None = None

  def once(self, flags: Sequence[str]) -> run.Once:
    """What runs the page with some flags."""

    def ended(log: Path, stop: Callable[[], bool]) -> run.Ended:
      with tempfile.NamedTemporaryFile() as output:
        asked = {"flags": [*flags], "output": output.name, "log": str(log.resolve())}
        code, stopped = self._asked(asked, log, stop)
        if code is None and not stopped:  # not this process, but a fresh one
          code, stopped = self._asked(asked, log, stop)
        text = output.read().decode("utf-8", "replace")
      with open(log, "ab") as errors:
        errors.write(text.encode())
      return run.Ended(1 if code is None else code, text, stopped)

    return ended

  def close(self) -> None:
    """Ends the process; it is not in the middle of a run."""
    child, self._child = self._child, None
    if child is None:
      return
    assert child.stdin and child.stdout
    for stream in (child.stdin, child.stdout):
      stream.close()
    try:
      child.wait(run.GRACE)
    except subprocess.TimeoutExpired:
      child.kill()
      child.wait()

  def _asked(
    self, asked: dict[str, Any], log: Path, stop: Callable[[], bool]
  ) -> tuple[int | None, bool]:
    """The exit code of a run, and whether it was asked to stop.

    The code is None where the run has not begun: the process cannot give what it asks
    for, or has ended in good order before it read of it.
    """
    child = self._running(log)
    assert child.stdin and child.stdout
    stopped = False
    try:
      child.stdin.write(json.dumps(asked).encode() + b"\n")
      child.stdin.flush()
      while not select.select([child.stdout], [], [], run.PAUSE)[0]:
        if not stopped and stop():
          child.terminate()
          stopped, deadline = True, time.monotonic() + run.GRACE
        if stopped and time.monotonic() > deadline:
          child.kill()
      answer = child.stdout.readline()
    except BrokenPipeError:
      answer = b""
    except BaseException:  # nobody watches the run any more: it saves and ends
      child.terminate()
      self.close()
      raise
    if answer:
      code = json.loads(answer)["code"]
      if code not in (0, run.BAD_INPUT):
        self.close()
      return code, stopped
    self.close()
    return child.returncode or None, stopped

  def _running(self, log: Path) -> "subprocess.Popen[bytes]":
    if self._child is not None and self._child.poll() is not None:
      self.close()
    if self._child is None:
      command = tethered([sys.executable, "-m", SERVER, self._module])
      with open(log, "ab") as errors:
        self._child = subprocess.Popen(
          command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    return self._child
