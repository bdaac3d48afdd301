"""Settings: frozen values that a person chooses, each with its help and what it allows.

  @dataclass(frozen=True)
  class Training:
    steps: int = setting(100, "updates to train for", least=1)

`Training(steps=5)` is the value; a program that reads flags can make one of every field.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple


class Described(NamedTuple):
  """What a person is told of a setting, and what it allows.

  Attributes:
    help: one plain sentence.
    choices: the values it may have; () for any.
    least: the least number; None for no limit.
    most: the greatest number; None for no limit.
    kind: of text that names something on a disk: "path" or "checkpoint"; "" for none.
    of_run: whether another value makes another run of it.
  """

  help: str
  choices: tuple[str, ...] = ()
  least: float | None = None
  most: float | None = None
  kind: str = ""
  of_run: bool = True


def setting(
  default: Any,
  help: str,
  *,
  choices: Sequence[str] = (),
  least: float | None = None,
  most: float | None = None,
  kind: str = "",
  of_run: bool = True,
) -> Any:
  """A field of a frozen dataclass, with what `described` tells of it.

  Its type is read off the annotation: bool, int, float, str or tuple[…], or one of
  them | None.

  Args:
    default: its value where no other is given.
    help: see `Described`, as of the arguments that follow.
    choices: the values it may have.
    least: the least number.
    most: the greatest number.
    kind: "path" or "checkpoint".
    of_run: false where the same run may have another value from one call to the next.
  """
  told = Described(help, tuple(choices), least, most, kind, of_run)
  return dataclasses.field(default=default, metadata={"setting": told})


def described(group: type) -> dict[str, Described]:
  """What was told of each setting of a dataclass, by name, in its order."""
  return {
    field.name: field.metadata["setting"]
    for field in dataclasses.fields(group)
    if "setting" in field.metadata
  }
