"""The answers to --help, --version and a wrong flag that do not wait for JAX.

A page, whose imports take a second, tells its flags once; they are kept beside the
compiled programs, and hold as long as no source of the package has changed.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags

from experiments.session.commandline import (
  HELP,
  Heading,
  define,
  stray,
  version,
)
from unroll import files
from unroll.data import cache
from unroll.settings import Setting

FOLDER = ".compiled"  # beside the data sets, whose names start with no dot
TYPES = {kind.__name__: kind for kind in (bool, int, float, str)}


class Told(NamedTuple):
  """What a page has told of itself.

  Attributes:
    help: the answer to --help.
    xml: the answer to --helpxml.
    headings: its settings.
  """

  help: str
  xml: str
  headings: Sequence[Heading]


def answer(page: str, arguments: Sequence[str]) -> None:
  """Ends the process if all that it is asked for can be answered from what is kept.

  Args:
    page: the module that is to run.
    arguments: of the command line.
  """
  if "--version" in arguments and not set(arguments) & set(HELP):
    print(version())
    sys.exit(0)
  told = kept(page)
  if told is None:
    return
  if set(arguments) & set(HELP):
    print(told.help, end="")
    sys.exit(0)
  if "--helpxml" in arguments:
    print(told.xml)
    sys.exit(0)
  values = flags.FlagValues()
  app.define_help_flags()
  values.append_flag_values(flags.FLAGS)
  define(told.headings, values)
  try:
    _, *others = values([page, *arguments])
  except flags.Error as error:
    others, wrong = [], str(error)
  else:
    wrong = stray(others[0]) if others else ""
  if wrong:
    print(f"error: {wrong}", file=sys.stderr)
    sys.exit(2)


def keep(told: Told) -> None:
  """Keeps what the page of this process tells, for the next one that is asked."""
  started = getattr(sys.modules["__main__"], "__spec__", None)
  folder = cache.root() / FOLDER
  with suppress(OSError):
    for place in (folder.parent, folder):
      place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if started is None or not files.private(folder):
      return
    settings = [
      [title, module, [{**one._asdict(), "type": one.type.__name__} for one in group]]
      for title, module, group in told.headings
    ]
    content = {"of": _stamp(), "help": told.help, "xml": told.xml, "settings": settings}
    files.write(folder / _name(started.name), json.dumps(content))


def kept(page: str) -> Told | None:
  """What a page has told of itself; None if it has not since its sources changed."""
  path = cache.root() / FOLDER / _name(page)
  try:
    if not files.private(path.parent):
      return None
    found = json.loads(path.read_text("utf-8"))
    if found["of"] != _stamp():
      return None
    headings = [
      Heading(title, module, [_setting(values) for values in group])
      for title, module, group in found["settings"]
    ]
    return Told(found["help"], found["xml"], headings)
  except (OSError, ValueError, KeyError, TypeError):
    return None  # the page tells it again


def _setting(values: dict[str, Any]) -> Setting:
  values["type"], values["choices"] = TYPES[values["type"]], tuple(values["choices"])
  if values["listed"] and values["default"] is not None:
    values["default"] = tuple(values["default"])
  return Setting(**values)


def _name(page: str) -> str:
  place = hashlib.sha256(str(Path(__file__).parent).encode()).hexdigest()[:8]
  return f"flags-{page}-{place}.json"


def _stamp() -> str:
  """Says which sources there are: where, how large, and when they were written."""
  found = [sys.version]
  for top in (Path(__file__).parents[1], Path(files.__file__).parent):
    for folder, _, names in os.walk(top):
      for name in sorted(names):
        if name.endswith(".py"):
          status = os.stat(os.path.join(folder, name))
          found.append(f"{folder}/{name} {status.st_size} {status.st_mtime_ns}")
  return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
