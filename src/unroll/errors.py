"""Errors that a user can mend, and how they read; this file needs no JAX."""

import difflib
import errno
from collections.abc import Iterable

_REMEDIES = {
  **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
  errno.EROFS: "make it writable",
  errno.EIO: "look after the disk",
}


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


def remedied(error: OSError) -> str:
  """The same, and what to do where a disk has not taken what was written."""
  remedy = _REMEDIES.get(error.errno or 0)
  again = f": {remedy}, then give the same command again" if remedy else ""
  return f"{sentence(error)}{again}"
