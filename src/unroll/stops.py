"""Requests to stop: Ctrl-C, SIGTERM, a terminal's end; this file needs no JAX."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def collected(
  tell: Callable[[], object] = lambda: None, *, deaf_after: bool = False
) -> Iterator[list[int]]:
  """Collects what asks for a stop, where it would have ended the process.

  A second Ctrl-C or SIGTERM does what it did before. Several SIGHUP come of one
  terminal, from the system and the shell: they ask once, and never where they were
  ignored before, as under nohup.

  Args:
    tell: called in the handler of a signal, so that it must not print.
    deaf_after: Ctrl-C is ignored from the end of the context on.

  Yields:
    The numbers of the signals, as they come.
  """
  asked: list[int] = []
  ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  before = {s: signal.getsignal(s) for s in SIGNALS[: 2 if ignored else 3]}

  def ask(number: int, frame: Any) -> None:
    asked.append(number)
    if number == signal.SIGHUP:
      before[signal.SIGHUP] = signal.SIG_IGN
      _leave_terminal()
    signal.signal(number, before[signal.Signals(number)])
    with contextlib.suppress(OSError):
      tell()

  try:
    for number in before:
      signal.signal(number, ask)
    yield asked
  finally:
    if deaf_after:
      before[signal.SIGINT] = signal.SIG_IGN
    for number, handler in before.items():
      signal.signal(number, handler)


def _leave_terminal() -> None:
  """Has nobody read what a terminal that is gone could not take any more."""
  for stream in (1, 2):
    try:
      os.write(stream, b"")
    except OSError:
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, stream)
      os.close(nowhere)
