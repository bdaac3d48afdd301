"""Errors that a user can mend, and how they read; this file needs no JAX."""

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
  """Input that a user gave and can mend: one sentence naming what, found, allowed.

  What a sentence quotes of the input stands in one line: line breaks and control
  characters, of which a terminal would take orders, are written as escapes.
  """

  def __init__(self, message: str = ""):
    shown = (c if c.isprintable() else repr(c)[1:-1] for c in message)
    super().__init__("".join(shown))


def guess(name: str, known: Iterable[str]) -> str:
  """How a sentence about an unknown name ends: what may be meant, if anything."""
  close = difflib.get_close_matches(name, list(known), n=1)
  return f"; did you mean {close[0]}?" if close else ""


def sentence(error: OSError) -> str:
  """The reason of an operating system's error, and the file that it concerns."""
  where = f" ({error.filename})" if error.filename else ""
  return f"{error.strerror or error}{where}"
