"""The door of every page: from flags to settings, and how a process ends.

No other file reads a flag, and `src/unroll` knows none: it names its arguments.
"""

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from experiments.session import (
  commandline,
  compilation,
  front,
  gang,
  output,
  terminal,
)
from experiments.session.commandline import HELP, Heading, flag_of
from experiments.session.messages import with_flags
from experiments.session.settings import Page, Settings
from experiments.session.start import began, begin_again
from unroll import devices
from unroll.errors import remedied
from unroll.settings import checked, described
from unroll.types import BadInput

FLAGS = flags.FLAGS
INTERRUPTED = (
  "error: interrupted; the same command starts again, or goes on from a checkpoint\n"
)
LARGE = ("batch", "hidden", "layers", "truncation", "window")  # what takes memory


def run(page: Page, about: str | None = None) -> NoReturn:
  """Runs a page on its flags; bad input ends in one sentence and exit code 2.

  Args:
    page: what to run.
    about: its docstring, for --help.
  """

  def parse(argv: list[str]) -> list[str]:
    if set(argv[1:]) & set(HELP):
      print(_told(page, about).help, end="")
      sys.exit(0)
    if "--version" in argv[1:]:
      print(commandline.version())
      sys.exit(0)
    if "--helpxml" in argv[1:]:
      print(_told(page, about).xml)
      sys.exit(0)
    try:
      return FLAGS(argv)
    except flags.Error as error:
      _told(page, about)
      fail(str(error))

  prepare(page)
  try:
    app.run(functools.partial(_main, page), flags_parser=parse)
  except SystemExit as end:
    if isinstance(end.code, int) and end.code:
      _leave(end.code)
    raise
  raise AssertionError("app.run does not return")


def _leave(code: int) -> NoReturn:
  """Ends the process without waiting for its threads.

  Where a disk took no folder for a checkpoint, those of orbax wait 20 minutes for it.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def prepare(page: Page) -> None:
  """Makes this process one that runs a page: its streams, Ctrl-C, its flags."""
  output.protect()
  if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, _interrupted)
  logging.set_verbosity(logging.WARNING)  # JAX tells of every backend it lacks
  commandline.define(_headings(page), FLAGS)


def _headings(page: Page) -> list[Heading]:
  return [
    Heading(
      (group.__doc__ or "").splitlines()[0],
      group.__module__,
      [*described(group).values()],
    )
    for group in page.groups
  ]


def _told(page: Page, about: str | None) -> front.Told:
  """What a page tells of itself; kept, so that the next answer needs no JAX."""
  headings, (name, better) = _headings(page), page.objective
  objective = f"{'-' if better == 'higher' else ''}val/{name}"
  told = front.Told(
    commandline.help_text(about or "", headings),
    commandline.help_xml(FLAGS, objective),
    headings,
  )
  front.keep(told)
  return told


def again(page: Page, arguments: Sequence[str]) -> None:
  """Runs a page as `run` does, in a process that is `prepare`d and may have run others.

  Args:
    page: what to run.
    arguments: its flags.

  Raises:
    SystemExit: with the exit code, if that is not 0.
  """
  for name in FLAGS:
    FLAGS[name].unparse()
  begin_again()
  try:
    argv = FLAGS([page.name, *arguments])
  except flags.Error as error:
    fail(str(error))
  _main(page, argv)


def _main(page: Page, argv: Sequence[str]) -> None:
  if len(argv) > 1:
    fail(commandline.stray(argv[1]))
  with _failing(page):
    settings = _read(page)
    _speak(settings)
    _refuse_together(settings)
    compilation.keep()
    devices.keep_memory()
    processes = gang.Processes
    alone = contextlib.nullcontext()
    with gang.joined(settings[processes]) if processes in page.groups else alone:
      page.main(settings)
    sys.stdout.flush()
    if isinstance(sys.stdout, output.Stream) and sys.stdout.error:
      reason = sys.stdout.error.strerror
      fail(f"standard output could not be written ({reason}); all else is done")


def _speak(settings: Settings) -> None:
  """Has the terminal show as much as was asked for.

  Raises:
    BadInput: for less and for more at once.
  """
  call = settings.values("call")
  quiet, verbose = (bool(call.get(name)) for name in ("quiet", "verbose"))
  if quiet and verbose:
    raise BadInput("`quiet` says less and `verbose` more: give one of them")
  terminal.hush(quiet, verbose)
  terminal.detail(f"imports took {time.monotonic() - began():.2f} s")


def fail(message: str, code: int = 2) -> NoReturn:
  """Ends the process with one sentence on standard error."""
  print(f"error: {message}", file=sys.stderr)
  gang.leave(code)


@contextlib.contextmanager
def _failing(page: Page) -> Iterator[None]:
  """Ends the process in one sentence for whatever is no fault of the program."""
  try:
    yield
  except BadInput as error:
    code = os.EX_TEMPFAIL if isinstance(error, gang.Busy) else 2
    fail(with_flags(str(error), set(map(flag_of, page.settings))), code)
  except MemoryError:
    fail(f"memory ran out: {_less(page)}")
  except (RuntimeError, AssertionError) as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      fail(f"the device's memory ran out: {_less(page)}")
    if (wanted := devices.missing()) is None:
      raise
    fail(f"JAX_PLATFORMS={wanted}: JAX finds no such device: unset it, or say cpu")
  except OSError as error:
    fail(remedied(error))


def _less(page: Page) -> str:
  has = [f"--{name}" for name in LARGE if name in page.settings]
  return f"lower {', '.join(has)}" if has else "give it less to do"


def _refuse_together(settings: Settings) -> None:
  """Refuses other modes than the first, which trains, for several processes."""
  if (modes := settings.page.settings.get("mode")) is None:
    return
  mode = settings.values("call")["mode"]
  processes = settings.page.settings.get("processes")
  if processes and mode != modes.default and FLAGS.processes > 1:
    raise BadInput(f"mode={mode} is for one process: drop `processes`")


def _read(page: Page) -> Settings:
  """The settings that the flags stand for."""
  groups = {}
  for group in page.groups:
    found = described(group)
    values = {name: FLAGS[flag_of(name)].value for name in found}
    groups[group] = group(**{n: checked(found[n], v) for n, v in values.items()})
  flags_of = {name: FLAGS[flag_of(name)] for name in page.settings}
  given = {name: flag for name, flag in flags_of.items() if flag.present}
  return Settings(page, groups, {n: flag.serialize() for n, flag in given.items()})


def _interrupted(number: int, frame: Any) -> NoReturn:
  """Ends the process by no exception: that might come up where nothing catches it."""
  with contextlib.suppress(Exception):
    sys.stdout.flush()
  with contextlib.suppress(OSError):
    os.write(2, INTERRUPTED.encode())
  os._exit(128 + number)
