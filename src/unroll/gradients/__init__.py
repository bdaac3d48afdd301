"""How the gradient through time is taken: schemes are values, swapped at will."""

from unroll import specs
from unroll.gradients.chunks import Chunks
from unroll.gradients.full import full
from unroll.gradients.random import SHORTEST, random
from unroll.gradients.scheme import ChunkLoss, Estimate, Estimator, Scheme
from unroll.gradients.truncated import truncated
from unroll.types import BadInput, Sums

END = 2**31  # of what a device counts with


def named_scheme(spec: str) -> Scheme:
  """Reads `full`, `tbptt:K`, `tbptt:K1,K2` or `random:K`.

  Raises:
    BadInput: for anything else, or lengths that the scheme does not take.
  """
  match specs.split(spec, int):
    case "full", ():
      return full()
    case "tbptt", (_,) | (_, _) as lengths if 1 <= min(lengths) <= max(lengths) < END:
      return truncated(*lengths)
    case "random", (k,) if SHORTEST <= k < END:
      return random(k)
  raise BadInput(
    f"truncation={spec}: choose full, tbptt:K or tbptt:K1,K2 with lengths of at "
    f"least 1, or random:K with K at least {SHORTEST}, all below {END}"
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
