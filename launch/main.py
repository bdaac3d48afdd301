"""The command lines of this room: flags of its own, and what is passed on."""

import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from unroll.errors import BadInput, remedied


def run_main(main: Callable[[Sequence[str]], None]) -> NoReturn:
  """Runs `main` on the arguments that are not flags of ours, in their order.

  Bad input ends in one sentence and exit code 2.
  """

  def parse(argv: list[str]) -> list[str]:
    try:
      return flags.FLAGS(argv, known_only=True)
    except flags.Error as error:
      fail(str(error))

  def guarded(argv: list[str]) -> None:
    try:
      main(argv[1:])
    except BadInput as error:
      fail(str(error))
    except OSError as error:
      fail(remedied(error))
    except KeyboardInterrupt:
      fail("interrupted; the same command goes on", 128 + signal.SIGINT)
    finally:
      # What is left is the end of the interpreter, which would show where it was.
      if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

  if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `launch`
    signal.signal(signal.SIGINT, signal.default_int_handler)
  app.run(guarded, flags_parser=parse)
  raise AssertionError("app.run does not return")


def fail(message: str, code: int = 2) -> NoReturn:
  """Ends the process with one sentence on standard error."""
  print(f"error: {message}", file=sys.stderr)
  sys.exit(code)


def say(message: str) -> None:
  """One line for people, on standard error."""
  print(message, file=sys.stderr, flush=True)
