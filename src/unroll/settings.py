"""Settings: frozen values that a person chooses, with help, limits and a role.

  @dataclass(frozen=True)
  class Training:
    steps: int = setting(100, "updates to train for", least=1)

`Training(steps=5)` is the value. A program that reads flags makes one of each field,
and a file of settings is checked field by field: neither is known here.
"""

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from unroll.errors import BadInput

# What another value of a setting means for a run that is there already:
# run: it is another run. changing: the run goes on with the new value. data: the same
# run, as long as the data are the same at the new place. call: nothing, as the value is
# of one call and no part of the run.
Role = Literal["run", "changing", "data", "call"]
MOST = 2**31 - 1  # as a whole number of 32 bits, which devices count in
LARGEST = 3e38  # as a number of 32 bits
_described: dict[type, dict[str, "Setting"]] = {}


class Setting(NamedTuple):
  """What a setting is.

  Attributes:
    name: of the field.
    type: bool, int, float or str.
    default: its value where none is given.
    help: one plain sentence.
    listed: whether the value is a tuple of that type.
    optional: whether the value may be None.
    choices: the values that it may have; () for any.
    least: the least number; None for no limit.
    most: the greatest number.
    kind: of text that names something on a disk: "path" or "checkpoint"; "spec" where
      options may follow one of the choices after a colon; else "".
    role: see `Role`.
  """

  name: str
  type: type
  default: Any
  help: str
  listed: bool
  optional: bool
  choices: tuple[str, ...]
  least: float | None
  most: float
  kind: str
  role: Role


def setting(
  default: Any,
  help: str,
  *,
  choices: Sequence[str] = (),
  least: float | None = None,
  most: float | None = None,
  kind: str = "",
  role: Role = "run",
) -> Any:
  """A field of a frozen dataclass; the arguments are the attributes of `Setting`.

  Its annotation is bool, int, float or str, a tuple of one of them, or one | None.
  """
  limits = {"choices": tuple(choices), "least": least, "most": most}
  return dataclasses.field(
    default=default, metadata={"help": help, **limits, "kind": kind, "role": role}
  )


def described(group: type) -> dict[str, Setting]:
  """The settings of a dataclass by name, in its order."""
  if group not in _described:
    _described[group] = _read(group)
  return _described[group]


def _read(group: type) -> dict[str, Setting]:
  hints = typing.get_type_hints(group)
  found = {}
  for field in dataclasses.fields(group):
    told = {key: v for key, v in field.metadata.items() if v not in (None, ())}
    one = of_hint(field.name, hints[field.name], field.default)
    assert one, f"{group.__name__}.{field.name} has no type of a setting"
    found[field.name] = one._replace(**told)
  return found


def of_hint(name: str, hint: Any, default: Any) -> Setting | None:
  """The setting that an annotation stands for; None if it stands for none.

  Args:
    name: of the setting.
    hint: bool, int, float or str, a Literal of texts, a tuple of one, or one | None.
    default: its value where none is given.
  """
  optional, listed, choices = False, False, ()
  if isinstance(hint, types.UnionType):
    parts = [part for part in hint.__args__ if part is not type(None)]
    if len(parts) != 1:
      return None
    optional, [hint] = True, parts
  if typing.get_origin(hint) is tuple:
    hint, listed = hint.__args__[0], True
  if typing.get_origin(hint) is Literal:
    hint, choices = str, hint.__args__
  if hint not in (bool, int, float, str):
    return None
  most = {int: MOST, float: LARGEST}.get(hint, math.inf)
  return Setting(
    *(name, hint, default, "", listed, optional, choices, None, most, "", "run")
  )


def checked(setting: Setting, value: Any) -> Any:
  """A value as JSON or a list of texts has it, in the type of a setting.

  Raises:
    BadInput: it is no value of that setting.
  """
  if value is None:
    if not setting.optional:
      raise BadInput(f"{setting.name}=null: give a value")
    return None
  if setting.listed:
    if not isinstance(value, list | tuple):
      raise BadInput(f"{setting.name}={value!r}: give a list")
    return tuple(_one(setting, each, value) for each in value)
  return _one(setting, value, value)


def parsed(setting: Setting, text: str) -> Any:
  """A value as a person writes it, in the type of a setting; `checked`.

  Raises:
    BadInput: it is no value of that setting.
  """
  value: Any = text
  try:
    if setting.type is bool and not setting.listed:
      value = {"true": True, "false": False}[text.lower()]
    elif setting.type in (int, float) and not setting.listed:
      value = setting.type(text)
    elif setting.kind == "checkpoint" and text.isdecimal():
      value = int(text)
    elif setting.listed:
      value = [part.strip() for part in text.split(",")] if text else []
  except (KeyError, ValueError):
    raise BadInput(f"{setting.name}={text}: give {_allowed(setting)}") from None
  return checked(setting, value)


def refuse(group: Any, choice: str, *shared: str) -> None:
  """Refuses settings of a group that differ from their defaults, but for shared ones.

  Args:
    group: a value of a dataclass of settings.
    choice: what was chosen that they say nothing to, as `model=transformer`.
    *shared: the names of those that say something to it.

  Raises:
    BadInput: there is one.
  """
  for name, known in described(type(group)).items():
    value = getattr(group, name)
    if name not in shared and value != known.default:
      raise BadInput(f"{name}={shown(value)} says nothing to {choice}: drop it")


def shown(value: Any) -> str:
  """A value as messages name it."""
  return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _one(setting: Setting, value: Any, whole: Any) -> Any:
  kind, wrong = setting.type, f"{setting.name}={shown(whole)}"
  if setting.kind == "checkpoint":
    if value in ("best", "newest") or isinstance(value, int):
      return value
    raise BadInput(f"{wrong}: give best, newest or the number of a step")
  if setting.listed and kind in (int, float) and isinstance(value, str):
    with contextlib.suppress(ValueError):
      value = kind(value)
  whole_number = isinstance(value, int) and not isinstance(value, bool)
  if kind is float and whole_number:
    value = float(value)
  if not isinstance(value, kind) or (kind is int and not whole_number):
    raise BadInput(f"{wrong}: give {_allowed(setting)}")
  chosen = str(value).partition(":")[0] if setting.kind == "spec" else value
  if setting.choices and chosen not in setting.choices:
    raise BadInput(f"{wrong}: choose one of {', '.join(setting.choices)}")
  if isinstance(value, int | float) and not math.isnan(value):
    least = -setting.most if setting.least is None else setting.least
    if not least <= value <= setting.most:
      raise BadInput(f"{wrong}: give {_allowed(setting)}")
  return value


def _allowed(setting: Setting) -> str:
  """The values of a setting, in words."""
  name = {bool: "true or false", int: "whole number", float: "number", str: "text"}
  what = name[setting.type]
  if setting.type not in (int, float):
    return what
  what = f"{what}s" if setting.listed else f"a {what}"
  form = "d" if setting.type is int else "g"
  least = -setting.most if setting.least is None else setting.least
  return f"{what} from {least:{form}} to {setting.most:{form}}"
