"""What `verbose` tells of a program: whether it was traced, and how its scans run."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from experiments.session.terminal import detail
from unroll import scan


def telling(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
  """The same function, which tells of its scans when it is traced."""

  @functools.wraps(function)
  def told(*args: Any) -> Any:
    with scan.noted() as notes:
      found = function(*args)
    tell(name, "traced", scans(notes))
    return found

  return told


def scans(notes: Sequence[scan.Note]) -> list[str]:
  """How scans run, in words, each once."""
  return list(
    dict.fromkeys(
      f"scan of {list(shape)}, {carry}: {path.name}, {path.reason}"
      for path, shape, carry in notes
    )
  )


def tell(name: str, how: str, scans: Sequence[str]) -> None:
  """Tells of a program."""
  detail("\n  ".join([f"program {name}: {how}", *scans]))
