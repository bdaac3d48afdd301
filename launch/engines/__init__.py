"""Where processes run: this machine, a Ray cluster, Slurm, behind one interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from unroll.errors import BadInput


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


def named_engine(
  name: str, *, cores: int | None = None, address: str = "", slurm: str = ""
) -> Engine:
  """The engine of `--on=NAME`; the libraries of the others are not imported.

  Args:
    name: `local`, `ray` or `slurm`.
    cores: that a cluster sets aside for each process; one if not given.
    address: of a Ray cluster; empty: one of this machine alone.
    slurm: options of sbatch, as in `partition=main,time=60`.

  Raises:
    BadInput: if it cannot run here.
  """
  for flag, given, owner in (("address", address, "ray"), ("slurm", slurm, "slurm")):
    if given and name != owner:
      raise BadInput(f"--{flag}={given} is for --on={owner}, not --on={name}: drop it")
  try:
    if name == "ray":
      from launch.engines.ray import Ray

      return Ray(address, cores or 1)
    if name == "slurm":
      from launch.engines.slurm import Slurm

      return Slurm(slurm, cores or 1)
  except ModuleNotFoundError as error:
    raise BadInput(
      f"--on={name} needs the package {error.name}: pip install -e '.[{name}]'"
    ) from None
  from launch.engines.local import Local

  return Local()
