"""`python tether.py COMMAND…`: runs a command that ends when its parent does.

A worker that is killed outright cannot stop the run that it started, which would go on
writing into its folder beside the one that takes its place. Linux sends the command a
SIGTERM then, which an experiment answers with a checkpoint; other systems do not.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def tethered(command: Sequence[str]) -> list[str]:
  """The command line that runs a command so, in any folder."""
  return [sys.executable, "-P", __file__, *command]


def main() -> None:
  """Becomes the command of the arguments."""
  parent = os.getppid()
  if prctl := getattr(ctypes.CDLL(None), "prctl", None):
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call
      sys.exit(128 + signal.SIGTERM)
  os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
  main()
