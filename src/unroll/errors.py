"""What is said to a user whose input is wrong; it needs no JAX."""


class BadInput(ValueError):
  """Input that a user gave and can mend: one sentence naming what, found, allowed."""


def sentence(error: OSError) -> str:
  """What went wrong, and with which file."""
  where = f" ({error.filename})" if error.filename else ""
  return f"{error.strerror or error}{where}"
