"""Specs: `name` or `name:number,…`, as people write an optimizer or a schedule."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from unroll.errors import BadInput

Number = TypeVar("Number", int, float)
# Of each name, what its numbers are by default; a word stands for a number that must be
# given: {"adam": (0.9, 0.999), "exponential": ("RATE",)}.
Forms = Mapping[str, tuple[float | str, ...]]


def split(spec: str, number: Callable[[str], Number]) -> tuple[str, tuple[Number, ...]]:
  """A spec's name and its numbers.

  Text of another form is a name, colon and all, so that no name that a caller knows
  equals it: `match split(spec, int)` needs no case for it.

  Args:
    spec: `tbptt:8,16`, say.
    number: the type of the numbers, `int` or `float`.

  Returns:
    `("tbptt", (8, 16))`; the numbers are `()` where there is no colon.
  """
  name, colon, text = spec.partition(":")
  try:
    return name, tuple(map(number, text.split(","))) if colon else ()
  except ValueError:
    return spec, ()


def read(argument: str, spec: str, forms: Forms) -> tuple[str, tuple[float, ...]]:
  """Reads a spec that is one of several forms: all numbers of a name, or its defaults.

  Args:
    argument: the name of the argument that the spec was given for, for the message.
    spec: the text.
    forms: every name there is, with its numbers.

  Returns:
    The name and its numbers.

  Raises:
    BadInput: no such name, or not its numbers; the message has every form.
  """
  name, given = split(spec, float)
  if name in forms and len(given) in (0, len(forms[name])):
    numbers = [n for n in given or forms[name] if not isinstance(n, str)]
    if len(numbers) == len(forms[name]):
      return name, tuple(numbers)
  allowed = ", ".join(_written(name, numbers) for name, numbers in forms.items())
  raise BadInput(f"{argument}={spec} is not understood: use one of {allowed}")


def _written(name: str, numbers: tuple[float | str, ...]) -> str:
  """A form as messages have it: `adam[:0.9,0.999]`, `exponential:RATE`."""
  tail = ":" + ",".join(map(str, numbers)) if numbers else ""
  required = any(isinstance(number, str) for number in numbers)
  return name + tail if required or not tail else f"{name}[{tail}]"
