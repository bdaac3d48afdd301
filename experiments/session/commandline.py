"""Flags as a command line has them: read, told and described, without JAX."""

import contextlib
import io
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NamedTuple

from absl import flags

from unroll import files
from unroll.errors import BadInput
from unroll.settings import Setting, parsed

HELP = ("--help", "-help", "-h", "--h", "-?", "--?", "--helpshort", "--helpfull")


class Heading(NamedTuple):
  """Settings that stand together.

  Attributes:
    title: of them all.
    module: where they come from.
    settings: in their order.
  """

  title: str
  module: str
  settings: Sequence[Setting]


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


def define(headings: Sequence[Heading], values: flags.FlagValues) -> None:
  """Makes a flag of each setting."""
  for heading in headings:
    for setting in heading.settings:
      common = {"name": flag_of(setting.name), "default": setting.default}
      flag: flags.Flag
      if setting.type is bool:
        flag = flags.BooleanFlag(help=setting.help, **common)
      else:
        reader, writer = _Parser(setting), _Serializer()
        flag = flags.Flag(reader, writer, help_string=setting.help, **common)
      flags.DEFINE_flag(flag, values, module_name=heading.module)


def stray(argument: str) -> str:
  """What is said of an argument that is no flag."""
  return f"{argument!r} is not a flag: write --name=value"


def help_text(about: str, headings: Sequence[Heading]) -> str:
  """What a page does, and its flags under headings."""
  lines = [about.strip(), ""]
  for heading in headings:
    lines += [f"{heading.title}:"]
    for setting in heading.settings:
      name = f"--{'[no]' * (setting.type is bool)}{flag_of(setting.name)}"
      choices = f" <{'|'.join(setting.choices)}>" if setting.choices else ""
      default = _default(setting)
      text = f"{name}{choices}: {setting.help}{default}"
      lines += [flags.text_wrap(text, 80, "      ", "  ")]
    lines.append("")
  lines += ["--flagfile=FILE reads flags from a file, one a line."]
  lines += ["--version tells the versions of what is installed.", ""]
  return "\n".join(lines)


def help_xml(values: flags.FlagValues, objective: str) -> str:
  """The flags as absl tells programs of them, and what a sweep of the page goes by."""
  text = io.StringIO()
  values.write_help_in_xml_format(text)
  told = f"<objective>{objective}</objective>"
  return text.getvalue().replace("</AllFlags>", f"{told}</AllFlags>")


def version() -> str:
  """The versions that a report of a fault needs: `unroll 0.1.0, jax 0.10.2, …`."""
  told = []
  for name in ("unroll", "jax", "flax"):
    with contextlib.suppress(metadata.PackageNotFoundError):  # run from its sources
      told.append(f"{name} {metadata.version(name)}")
  return ", ".join([*told, f"Python {platform.python_version()}"])


def _default(setting: Setting) -> str:
  if setting.default in (None, "", ()):
    return ""
  value = setting.default
  shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
  return f" (default: {shown.lower() if setting.type is bool else shown})"
