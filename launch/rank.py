"""`python -m launch.rank GANG ATTEMPT I P -- COMMAND…`: process I of P of a gang.

It meets the others, then runs the command with the flags that tell it of them.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from launch.cores import cores
from launch.meeting import PAUSE, Meeting, Place
from launch.tether import tethered
from unroll import stops

Value = TypeVar("Value")


def main() -> None:
  """Runs the command of the arguments, and ends with its exit code."""
  gang, attempt, process, processes, _, *command = sys.argv[1:]
  meeting, own, count = Meeting(Path(gang), int(attempt)), int(process), int(processes)
  here = Place(socket.gethostname(), sorted(cores()))
  if not meeting.arrive(own, here):
    # An engine that starts what it lost once more cannot know that the others have
    # lost a member for good.
    meeting.ended(own, os.EX_TEMPFAIL)
    sys.exit(os.EX_TEMPFAIL)
  places = _awaited(lambda: meeting.places(count))
  _share(
    here, [p for p, place in enumerate(places) if place == here].index(own), places
  )
  if own == 0:
    meeting.address = _free_address(places)
  address = _awaited(lambda: meeting.address)
  flags = [f"--coordinator={address}", f"--processes={count}", f"--process={own}"]
  with open(meeting.output(own), "wb") as output:
    code = _run([*command, *flags], output)
  meeting.ended(own, code)
  sys.exit(code)


def _awaited(look: Callable[[], Value | None]) -> Value:
  """What is there in the end, however long that takes."""
  while not (found := look()):
    time.sleep(PAUSE)
  return found


def _share(here: Place, index: int, places: Sequence[Place]) -> None:
  """Confines this process to its part of cores that others of the gang have too."""
  sharing = sum(place == here for place in places)
  own = here.cores[index::sharing]
  if sharing == 1 or len(here.cores) < sharing or not hasattr(os, "sched_setaffinity"):
    return
  if len(own) > 1:
    os.sched_setaffinity(0, own)
  else:
    # Gloo's thread spins while it waits: confined to the one core of those that it
    # waits for, it would keep them from it. So the process is only told to be small.
    os.environ["NPROC"] = "1"


def _free_address(places: Sequence[Place]) -> str:
  """This host as the others see it, and a port that is free now."""
  host = "127.0.0.1"
  others = {place.host for place in places} - {places[0].host}
  if others:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
      try:
        way.connect((min(others), 1))  # sends nothing
        host = way.getsockname()[0]
      except OSError:  # a name that is not known here: they may know ours
        host = places[0].host
  with socket.socket() as probe:
    probe.bind(("", 0))
    return f"{host}:{probe.getsockname()[1]}"


def _run(command: Sequence[str], output: Any) -> int:
  """Runs a command that dies with this process, and is asked to stop when it is.

  It is asked by SIGINT, because an engine's SIGTERM may have reached it too, and a
  second one would end it before it has saved.
  """
  child: subprocess.Popen[bytes] | None = None

  def stop(number: int, frame: Any) -> None:
    if child is None:
      sys.exit(128 + number)
    child.send_signal(signal.SIGINT)

  for number in stops.SIGNALS:
    signal.signal(number, stop)
  child = subprocess.Popen(tethered(command), stdout=output)
  code = child.wait()
  return code if code >= 0 else 128 - code


if __name__ == "__main__":
  main()
