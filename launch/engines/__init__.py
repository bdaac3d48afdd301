"""Where processes run: this machine, a Ray cluster, Slurm, behind one interface."""

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from unroll.errors import BadInput

ENGINES = {"local": "Local", "ray": "Ray", "slurm": "Slurm"}  # module -> class


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
    """Stops what still runs, and waits for its end."""


def named_engine(name: str, **options: Any) -> Engine:
  """The engine of `--on=NAME`; its libraries are imported only here.

  Args:
    name: one of `ENGINES`.
    **options: what the constructor of that engine takes.

  Raises:
    BadInput: if there is no such engine or option, or it cannot run here.
  """
  if name not in ENGINES:
    raise BadInput(f"--on={name} is unknown: choose from {', '.join(ENGINES)}")
  try:
    engine = getattr(importlib.import_module(f"launch.engines.{name}"), ENGINES[name])
  except ModuleNotFoundError as error:
    raise BadInput(
      f"--on={name} needs the package {error.name}: pip install -e '.[{name}]'"
    ) from None
  try:
    inspect.signature(engine).bind(**options)
  except TypeError as error:
    raise BadInput(f"--on={name} {error}") from None
  return engine(**options)
