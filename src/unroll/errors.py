"""What is said to a user whose input is wrong; it needs no JAX."""


class BadInput(ValueError):
  """Input that a user gave and can mend: one sentence naming what, found, allowed."""
