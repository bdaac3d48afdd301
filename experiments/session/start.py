"""The start of a process that runs a page: its clock, its streams, Ctrl-C."""

import signal
import time

from experiments.session import output

# Before anything heavy is imported: `--minutes` counts the start-up too.
_began = time.monotonic()


def protect() -> None:
  """Makes the streams and Ctrl-C those of a page whose imports are still to come."""
  output.reopen()
  if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    # Ctrl-C in the seconds of imports is no error to be traced: it just ends the
    # process. `door.run` takes it back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def began() -> float:
  """When the page began, by the clock `time.monotonic`: with the process, or again."""
  return _began


def begin_again() -> None:
  """Starts the clock of the next page that this process runs."""
  global _began
  _began = time.monotonic()
