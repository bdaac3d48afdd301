"""The door of every page: from flags to settings, and how a process ends.

No other file reads a flag, and `src/unroll` knows none: it names its arguments.
"""

import contextlib
import functools
import io
import os
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any, NoReturn

from absl import app, flags, logging

from experiments.session import compilation, gang, output
from experiments.session.messages import with_flags
from experiments.session.settings import Page, Settings
from experiments.session.start import begin_again
from unroll import devices, files
from unroll.errors import sentence
from unroll.settings import Setting, checked, described, parsed
from unroll.types import BadInput

FLAGS = flags.FLAGS
INTERRUPTED = (
  "error: interrupted; the same command starts again, or goes on from a checkpoint\n"
)
HELP = ("--help", "-help", "-h", "--h", "-?", "--?", "--helpshort", "--helpfull")
LARGE = ("batch", "hidden", "layers", "truncation", "window")  # what takes memory


def run(page: Page, about: str | None = None) -> NoReturn:
  """Runs a page on its flags; bad input ends in one sentence and exit code 2.

  Args:
    page: what to run.
    about: its docstring, for --help.
  """

  def parse(argv: list[str]) -> list[str]:
    if set(argv[1:]) & set(HELP):
      print(_help(page, about or ""), end="")
      sys.exit(0)
    if "--version" in argv[1:]:
      print(_version())
      sys.exit(0)
    if "--helpxml" in argv[1:]:
      print(_help_xml(page))
      sys.exit(0)
    try:
      return FLAGS(argv)
    except flags.Error as error:
      fail(str(error))

  prepare(page)
  app.run(functools.partial(_main, page), flags_parser=parse)
  raise AssertionError("app.run does not return")


def prepare(page: Page) -> None:
  """Makes this process one that runs a page: its streams, Ctrl-C, its flags."""
  output.protect()
  if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, _interrupted)
  logging.set_verbosity(logging.WARNING)  # JAX tells of every backend it lacks
  for group in page.groups:
    define(group)


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
    fail(f"{argv[1]!r} is not a flag: write --name=value")
  with _failing(page):
    settings = _read(page)
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
  except devices.Settled:
    raise
  except (RuntimeError, AssertionError) as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      fail(f"the device's memory ran out: {_less(page)}")
    if (wanted := devices.missing()) is None:
      raise
    fail(f"JAX_PLATFORMS={wanted}: JAX finds no such device: unset it, or say cpu")
  except OSError as error:
    fail(sentence(error))


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


class _Parser(flags.ArgumentParser[Any]):
  """Reads the text of a flag as `unroll.settings` reads a setting."""

  def __init__(self, setting: Setting):
    self._setting = setting
    self.syntactic_help = ""
    if setting.choices:
      self.enum_values = list(setting.choices)

  def parse(self, argument: Any) -> Any:
    if not isinstance(argument, str):  # a default
      return argument
    try:
      value = parsed(self._setting, argument)
      return files.expanded(value) if self._setting.kind == "path" else value
    except BadInput as error:
      # absl says which flag has which value.
      raise ValueError(str(error).partition(": ")[2] or str(error)) from None

  def flag_type(self) -> str:
    setting = self._setting
    return "comma separated list" if setting.listed else setting.type.__name__


class _Serializer(flags.ArgumentSerializer[Any]):
  def serialize(self, value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def flag_of(name: str) -> str:
  """The flag of a setting; one that is a word of Python's, `from_`, ends in code."""
  return name.rstrip("_")


def define(group: type) -> None:
  """Makes a flag of each setting of a group, under its heading."""
  for setting in described(group).values():
    common = {"name": flag_of(setting.name), "default": setting.default}
    flag: flags.Flag
    if setting.type is bool:
      flag = flags.BooleanFlag(help=setting.help, **common)
    else:
      reader, writer = _Parser(setting), _Serializer()
      flag = flags.Flag(reader, writer, help_string=setting.help, **common)
    flags.DEFINE_flag(flag, module_name=group.__module__)


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


def _help(page: Page, about: str) -> str:
  """What the page does, and its flags under headings."""
  lines = [about.strip(), ""]
  for group in page.groups:
    lines += [f"{(group.__doc__ or '').splitlines()[0]}:"]
    for setting in described(group).values():
      name = f"--{'[no]' * (setting.type is bool)}{flag_of(setting.name)}"
      choices = f" <{'|'.join(setting.choices)}>" if setting.choices else ""
      default = _default(setting)
      text = f"{name}{choices}: {setting.help}{default}"
      lines += [flags.text_wrap(text, 80, "      ", "  ")]
    lines.append("")
  lines += ["--flagfile=FILE reads flags from a file, one a line."]
  lines += ["--version tells the versions of what is installed.", ""]
  return "\n".join(lines)


def _version() -> str:
  """The versions that a report of a fault needs: `unroll 0.1.0, jax 0.10.2, …`."""
  told = []
  for name in ("unroll", "jax", "flax"):
    with contextlib.suppress(metadata.PackageNotFoundError):  # run from its sources
      told.append(f"{name} {metadata.version(name)}")
  return ", ".join([*told, f"Python {platform.python_version()}"])


def _help_xml(page: Page) -> str:
  """The flags as absl tells programs of them, and what a sweep of the page goes by."""
  text = io.StringIO()
  FLAGS.write_help_in_xml_format(text)
  name, better = page.objective
  sign = "-" if better == "higher" else ""
  told = f"<objective>{sign}val/{name}</objective>"
  return text.getvalue().replace("</AllFlags>", f"{told}</AllFlags>")


def _default(setting: Setting) -> str:
  if setting.default in (None, "", ()):
    return ""
  value = setting.default
  shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
  return f" (default: {shown.lower() if setting.type is bool else shown})"


def _interrupted(number: int, frame: Any) -> NoReturn:
  """Ends the process by no exception: that might come up where nothing catches it."""
  with contextlib.suppress(Exception):
    sys.stdout.flush()
  with contextlib.suppress(OSError):
    os.write(2, INTERRUPTED.encode())
  os._exit(128 + number)
