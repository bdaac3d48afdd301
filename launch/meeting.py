"""The folder where the processes of a gang meet, once for each attempt.

here-I                   what process I says of itself: its host and its cores
address                  host:port of process 0, which waits until all are here
exit-I                   the exit code of process I's command
rank-I.out, rank-I.log   what that printed, and its errors
"""

import json
from pathlib import Path
from typing import NamedTuple

from unroll import files

PAUSE = 0.1  # seconds between two looks at a folder


class Place(NamedTuple):
  """Where a process runs: its host, and the cores that it may use there."""

  host: str
  cores: list[int]


class Meeting:
  """One attempt's folder, `GANG/ATTEMPT`.

  Args:
    gang: the folder of all attempts.
    attempt: its number.
  """

  def __init__(self, gang: Path, attempt: int):
    self.gang, self.attempt = gang, attempt
    self.path = gang / str(attempt)

  @classmethod
  def called(cls, gang: Path) -> "Meeting":
    """A new one, after all those before, whoever called them."""
    gang.mkdir(parents=True, exist_ok=True)
    while True:
      numbers = [int(p.name) for p in gang.iterdir() if p.name.isdecimal()]
      meeting = cls(gang, max(numbers, default=0) + 1)
      try:
        meeting.path.mkdir()
        return meeting
      except FileExistsError:
        continue

  def arrive(self, process: int, place: Place) -> bool:
    """Says that a process is here; false if it was before, in another life."""
    try:
      with open(self.path / f"here-{process}", "x") as file:
        file.write(json.dumps(place) + "\n")
    except FileExistsError:
      return False
    return True

  def places(self, processes: int) -> list[Place] | None:
    """Where each of so many processes is; None until all are here."""
    texts = [self._read(f"here-{process}") for process in range(processes)]
    if not all(text.endswith("\n") for text in texts):
      return None
    return [Place(*json.loads(text)) for text in texts]

  @property
  def address(self) -> str:
    """Of process 0; empty until it is known."""
    return self._read("address")

  @address.setter
  def address(self, address: str) -> None:
    files.write(self.path / "address", address)

  def code(self, process: int) -> int | None:
    """How the command of a process ended; None if it has not said."""
    text = self._read(f"exit-{process}")
    return int(text) if text else None

  def ended(self, process: int, code: int) -> None:
    """Says how the command of a process ended."""
    files.write(self.path / f"exit-{process}", str(code))

  def output(self, process: int) -> Path:
    """The file of a command's standard output."""
    return self.path / f"rank-{process}.out"

  def log(self, process: int) -> Path:
    """The file of a command's standard error, and of what started it."""
    return self.path / f"rank-{process}.log"

  def _read(self, name: str) -> str:
    try:
      return (self.path / name).read_text("utf-8")
    except FileNotFoundError:
      return ""
