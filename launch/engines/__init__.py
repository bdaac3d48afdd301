"""Where processes run: this machine, a Ray cluster, Slurm, behind one interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Process(Protocol):
  """One process, somewhere."""

  def running(self) -> bool:
    """Whether it has not ended; one that still waits in a queue has not."""

  def stop(self) -> None:
    """Asks it to end, with SIGTERM, and does not wait."""


class Engine(Protocol):
  """Starts processes in a folder and environment like those here."""

  def start(self, command: Sequence[str], log: Path) -> Process:
    """Starts a command, its standard output and error appended to a file."""

  def close(self) -> None:
    """Stops what still runs."""


def named_engine(name: str, **options: object) -> Engine:
  """The engine of --on."""
  from launch.engines.local import Local

  del options
  return Local()
