"""How the gradient through time is taken: schemes are values, swapped at will."""

import re

from unroll import specs
from unroll.gradients.adaptive import adaptive
from unroll.gradients.artbp import artbp
from unroll.gradients.chunks import Chunks
from unroll.gradients.full import full
from unroll.gradients.online import (
  eprop,
  kf_rtrl,
  ok,
  rflo,
  rtrl,
  sketched,
  snap,
  snap1,
  uoro,
)
from unroll.gradients.random import SHORTEST, random
from unroll.gradients.scheme import ChunkLoss, Estimate, Estimator, Scheme
from unroll.gradients.telescope import telescope
from unroll.gradients.truncated import truncated
from unroll.types import BadInput, Sums

END = 2**31  # of what a device counts with


FORMS = (
  "full, tbptt:K or tbptt:K1,K2, random:K with K at least 5, artbp:K or artbp:K,BLOCK "
  "with K of several blocks, telescope:K, adaptive:TOLERANCE, adaptive:TOLERANCE,K or "
  "adaptive:TOLERANCE,K,MAX with MAX of K times a power of two, rtrl or rtrl:K, "
  "uoro or uoro:K, "
  "sketched:RANK or sketched:RANK,K, snap1 or snap1:K, snap1_local likewise, "
  "snap:N or snap:N,K, "
  "eprop or eprop:K, rflo, rflo:K or rflo:K,TAU, rflo_symmetric likewise, "
  "kf_rtrl or kf_rtrl:K, ok:RANK or ok:RANK,K"
)


def named_scheme(spec: str) -> Scheme:
  """Reads one of `FORMS`.

  Raises:
    BadInput: for anything else, or lengths that the scheme does not take.
  """
  if spec.startswith("adaptive:"):
    _, parts = specs.split(spec, float)
    if parts and (scheme := _adaptive(*parts)):
      return scheme
  name, numbers = specs.split(spec, int)
  if all(1 <= number < END for number in numbers):
    match name, numbers:
      case "full", ():
        return full()
      case "tbptt", (_,) | (_, _):
        return truncated(*numbers)
      case "random", (k,) if k >= SHORTEST:
        return random(k)
      case "artbp", (k,) if 1 < k < END // 8:
        return artbp(k)
      case "artbp", (k, block) if block < k < END // 8 and k % block == 0:
        return artbp(k, block)
      case "telescope", (k,):
        return telescope(k)
      case "rtrl", () | (_,):
        return rtrl(*numbers)
      case "uoro", () | (_,):
        return uoro(*numbers)
      case "snap1", () | (_,):
        return snap1(*numbers)
      case "snap1_local", () | (_,):
        return snap1(*numbers, local=True)
      case "snap", (_,) | (_, _):
        return snap(*numbers)
      case "eprop", () | (_,):
        return eprop(*numbers)
      case "rflo", () | (_,) | (_, _):
        return rflo(*numbers)
      case "rflo_symmetric", () | (_,) | (_, _):
        return rflo(*numbers, feedback=False)
      case "kf_rtrl", () | (_,):
        return kf_rtrl(*numbers)
      case "ok", (_,) | (_, _):
        return ok(*numbers)
      case "sketched", (_,) | (_, _):
        return sketched(*numbers)
  raise BadInput(
    f"truncation={spec}: choose {FORMS}, with numbers of at least 1, all below {END}"
  )


def _adaptive(tolerance: float, *steps: float) -> Scheme | None:
  """The scheme of the numbers of a spec; None if it does not take them."""
  if len(steps) > 2 or not all(part % 1 == 0 and part < END for part in steps):
    return None
  try:
    return adaptive(tolerance, *map(int, steps))
  except ValueError:
    return None


def listed(specs: str) -> list[str]:
  """The specs of a list, of which a comma ahead of a digit is no end."""
  return re.split(r",(?!\d)", specs)


__all__ = [
  "ChunkLoss",
  "Chunks",
  "Estimate",
  "Estimator",
  "Scheme",
  "Sums",
  "adaptive",
  "artbp",
  "eprop",
  "full",
  "kf_rtrl",
  "listed",
  "named_scheme",
  "ok",
  "random",
  "rflo",
  "rtrl",
  "sketched",
  "snap",
  "snap1",
  "telescope",
  "truncated",
  "uoro",
]
