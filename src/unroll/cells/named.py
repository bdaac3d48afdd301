"""A cell as people write it: its name, and options of it, `lstm:forget_bias=2`."""

import inspect
import typing
from collections.abc import Callable
from typing import Any

from unroll.cells import CELLS
from unroll.errors import guess
from unroll.settings import Setting, of_hint, parsed
from unroll.types import BadInput, Cell


def named_cell(spec: str) -> tuple[Callable[..., Cell], dict[str, Any]]:
  """Reads a name in `CELLS`, perhaps with a colon and options between commas.

  An option is `name=value`; the name alone makes one true.

  Args:
    spec: `gru`, `lstm:forget_bias=2`, say.

  Returns:
    The constructor, `(D, H, **options) -> cell`, and the options that are given.

  Raises:
    BadInput: for another name, an option that the cell does not have, or a value that
      the option does not have.
  """
  name, colon, text = spec.partition(":")
  if name not in CELLS:
    names = sorted(CELLS)
    raise BadInput(f"cell={spec}: choose one of {', '.join(names)}{guess(name, names)}")
  known, given = options(name), dict[str, Any]()
  for part in text.split(",") if colon else ():
    option, equals, value = part.strip().partition("=")
    if option not in known:
      has = f"{name} has {', '.join(known)}" if known else f"{name} has no options"
      raise BadInput(f"cell={spec}: {has}{guess(option, known)}")
    if option in given:
      raise BadInput(f"cell={spec} gives {option} twice: drop one of them")
    setting = known[option]
    if not equals and setting.type is not bool:
      raise BadInput(f"cell={spec}: give {option} a value: {option}={setting.default}")
    try:
      given[option] = parsed(setting, value if equals else "true")
      if given[option] != given[option]:
        raise BadInput(f"{option}={value}: give a number")
    except BadInput as error:
      raise BadInput(f"cell={spec}: {error}") from None
  return CELLS[name], given


def options(name: str) -> dict[str, Setting]:
  """The options of a cell, by name.

  They are the keyword arguments of its constructor that are a number, a truth value
  or, as a Literal, one of some names.
  """
  constructor = CELLS[name]
  hints = typing.get_type_hints(getattr(constructor, "func", constructor))
  found = (
    of_hint(parameter.name, hints.get(parameter.name), parameter.default)
    for parameter in inspect.signature(constructor).parameters.values()
    if parameter.kind is parameter.KEYWORD_ONLY
  )
  return {setting.name: setting for setting in found if setting}
