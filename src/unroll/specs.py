"""Specs: `name` or `name:number,…`, as people write an optimizer or a schedule."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from unroll.errors import BadInput

Number = TypeVar("Number", int, float)
# Of each name, what its numbers are by default; a word is a number that must be given,
# ahead of those that need not be: {"adam": (0.9, 0.999), "step": ("EVERY", 0.5)}.
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
  """Reads a spec that is one of several forms: a name and its numbers, or defaults.

  A name has all of its numbers, or those alone that must be given.

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
  form = forms.get(name, ())
  if name in forms and len(given) in (_required(form), len(form)):
    return name, (*given, *form[len(given) :])  # type: ignore[arg-type]
  allowed = ", ".join(_written(name, numbers) for name, numbers in forms.items())
  raise BadInput(f"{argument}={spec} is not understood: use one of {allowed}")


def _required(form: tuple[float | str, ...]) -> int:
  """How many of a form's numbers must be given: all up to its last word."""
  return max(
    (n for n, value in enumerate(form, 1) if isinstance(value, str)), default=0
  )


def _written(name: str, numbers: tuple[float | str, ...]) -> str:
  """A form as messages have it: `adam[:0.9,0.999]`, `step:EVERY,FACTOR[,0]`."""
  parts = [f"{',' if place else ':'}{number}" for place, number in enumerate(numbers)]
  required = _required(numbers)
  rest = "".join(parts[required:])
  return name + "".join(parts[:required]) + (f"[{rest}]" if rest else "")
