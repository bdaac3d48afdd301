"""How the gradient through time is taken: schemes are values, swapped at will."""

from unroll.gradients.chunks import Chunks
from unroll.gradients.full import full
from unroll.gradients.random import SHORTEST, random
from unroll.gradients.scheme import ChunkLoss, Estimate, Estimator, Scheme
from unroll.gradients.truncated import truncated
from unroll.types import BadInput, Sums


def named_scheme(spec: str) -> Scheme:
  """Reads `full`, `tbptt:K`, `tbptt:K1,K2` or `random:K`.

  Raises:
    BadInput: for anything else, or lengths that the scheme does not take.
  """
  name, _, argument = spec.partition(":")
  try:
    numbers = [int(number) for number in argument.split(",")] if argument else []
  except ValueError:
    numbers = [0]
  if max(numbers, default=0) >= 2**31:  # beyond what a device counts to
    numbers = []
  if name == "full" and not argument:
    return full()
  if name == "tbptt" and len(numbers) in (1, 2) and min(numbers) >= 1:
    return truncated(*numbers)
  if name == "random" and len(numbers) == 1 and numbers[0] >= SHORTEST:
    return random(*numbers)
  raise BadInput(
    f"--truncation={spec}: choose full, tbptt:K or tbptt:K1,K2 with lengths of at "
    f"least 1, or random:K with K at least {SHORTEST}, all below {2**31}"
  )


__all__ = [
  "ChunkLoss",
  "Chunks",
  "Estimate",
  "Estimator",
  "Scheme",
  "Sums",
  "full",
  "named_scheme",
  "random",
  "truncated",
]
