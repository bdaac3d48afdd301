"""How the gradient through time is taken: schemes are values, swapped at will."""

import re

from unroll import specs
from unroll.errors import guess
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
  rtrl_diagonal,
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


# Of each scheme, its numbers, as messages have them, and what they must be.
SCHEMES = {
  "full": ("", ""),
  "parallel": ("[:K]", ""),
  "tbptt": (":K1[,K2]", ""),
  "random": (":K", f"K at least {SHORTEST}"),
  "artbp": (":K[,BLOCK]", "K of several blocks"),
  "telescope": (":K", ""),
  "adaptive": (":TOLERANCE[,K[,MAX]]", "MAX of K times a power of two"),
  "rtrl": ("[:K]", ""),
  "rtrl_diagonal": ("[:K]", ""),
  "uoro": ("[:K]", ""),
  "sketched": (":RANK[,K]", ""),
  "snap": (":N[,K]", ""),
  "snap1": ("[:K]", ""),
  "snap1_local": ("[:K]", ""),
  "eprop": ("[:K]", ""),
  "rflo": ("[:K[,TAU]]", ""),
  "rflo_symmetric": ("[:K[,TAU]]", ""),
  "kf_rtrl": ("[:K]", ""),
  "ok": (":RANK[,K]", ""),
}
FORMS = ", ".join(name + numbers for name, (numbers, _) in SCHEMES.items())


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
      case "parallel", ():
        return full()._replace(backward="parallel")
      case "parallel", (_,):
        return truncated(*numbers)._replace(backward="parallel")
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
      case "rtrl_diagonal", () | (_,):
        return rtrl_diagonal(*numbers)
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
  raise BadInput(f"truncation={spec}: {_allowed(spec.partition(':')[0])}")


def _allowed(name: str) -> str:
  """What a scheme of that name is given, or all that there are."""
  if name not in SCHEMES:
    return f"choose {FORMS}{guess(name, SCHEMES)}"
  numbers, must = SCHEMES[name]
  if not numbers:
    return f"give {name}, which has no numbers"
  whole = "TOLERANCE above 0, " * (name == "adaptive")
  limits = f"{whole}whole numbers from 1, below {END}"
  return f"give {name}{numbers}, {limits}" + (f", {must}" if must else "")


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
  "rtrl_diagonal",
  "sketched",
  "snap",
  "snap1",
  "telescope",
  "truncated",
  "uoro",
]
