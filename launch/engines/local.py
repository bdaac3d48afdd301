"""Processes on this machine."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.tether import tethered

GRACE = 70.0  # seconds between SIGTERM and SIGKILL: a run that saves may take 60


class LocalProcess:
  """A child of this process, in a process group of its own.

  So Ctrl-C at a terminal reaches this process alone, which passes it on in its way.
  """

  def __init__(self, child: "subprocess.Popen[bytes]"):
    self._child = child

  def running(self) -> bool:
    """Whether it has not ended."""
    return self._child.poll() is None

  def stop(self) -> None:
    """Asks it to end, with SIGTERM, and does not wait."""
    if self.running():
      self._child.terminate()

  def end(self, within: float) -> None:
    """Waits for its end, and enforces it after so many seconds, or on Ctrl-C."""
    try:
      self._child.wait(max(within, 0))
    except subprocess.TimeoutExpired:
      self.kill()
    except BaseException:
      self.kill()
      raise

  def kill(self) -> None:
    """Ends it at once, with the processes that it has started."""
    if self.running():
      os.killpg(self._child.pid, signal.SIGKILL)
      self._child.wait()


class Local:
  """Children of this process, which end with it.

  Args:
    cwd: the folder they run in; none: this process's.
    environment: likewise.
  """

  def __init__(
    self, cwd: str | None = None, environment: Mapping[str, str] | None = None
  ):
    self._cwd, self._environment = cwd, environment
    self._processes: list[LocalProcess] = []

  def start(self, command: Sequence[str], log: Path) -> LocalProcess:
    """Starts a command, its standard output and error appended to a file."""
    with open(log, "ab") as output:
      child = subprocess.Popen(
        tethered(command),
        cwd=self._cwd,
        env=self._environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        process_group=0,
      )
    self._processes.append(LocalProcess(child))
    return self._processes[-1]

  def close(self) -> None:
    """Stops what still runs, and waits for its end."""
    for process in self._processes:
      process.stop()
    deadline = time.monotonic() + GRACE
    try:
      for process in self._processes:
        process.end(deadline - time.monotonic())
    finally:
      for process in self._processes:
        process.kill()  # those that nobody waits for any more
