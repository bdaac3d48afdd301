"""Errors that a user can mend, and how they read; this file needs no JAX."""


class BadInput(ValueError):
  """Input that a user gave and can mend: one sentence naming what, found, allowed."""


def sentence(error: OSError) -> str:
  """The reason of an operating system's error, and the file that it concerns."""
  where = f" ({error.filename})" if error.filename else ""
  return f"{error.strerror or error}{where}"
