"""Newton's method in place of a loop through time: what a person chooses of it."""

import math
from typing import Literal, NamedTuple

from unroll import specs
from unroll.errors import BadInput

FORMS: specs.Forms = {
  "sequential": (),
  "newton": (0.0,),
  "quasi_newton": (0.0,),
}


class Newton(NamedTuple):
  """How the states of all steps of a nonlinear cell are found at once.

  Each iteration replaces the steps by linear ones, through the states that it has, and
  solves their recurrence as a tree of 2 log₂ T levels. T iterations find the states
  exactly, whatever the cell, since each of them makes one more step right; a cell that
  forgets how it started needs a few.

  Attributes:
    jacobian: "full" is DEER (Lim et al. 2024), with N² numbers for each step of a
      sequence, N those of its carry; "diagonal" is quasi-DEER (Gonzalez et al. 2024),
      with N, and more iterations.
    damping: in [0, 1]: linear steps are scaled by 1 - damping, so that their product
      does not explode where states part: the ELK of Gonzalez et al. (2024), with a
      factor in place of their Kalman smoother. 1 evaluates all steps again and again.
    tolerance: of the states: the largest change that a step makes of what the state
      before it asks for, of the largest state or of 1. None: 64 units of rounding.
    iterations: the most that are tried before a loop of T steps takes over.
  """

  jacobian: Literal["full", "diagonal"] = "full"
  damping: float = 0.0
  tolerance: float | None = None
  iterations: int = 100


def named_evaluation(spec: str) -> Newton | None:
  """Reads sequential, newton[:DAMPING] or quasi_newton[:DAMPING].

  Returns:
    None for sequential.

  Raises:
    BadInput: for anything else, or a damping outside of [0, 1].
  """
  name, numbers = specs.read("evaluate", spec, FORMS)
  if name == "sequential":
    return None
  (damping,) = numbers
  if math.isnan(damping) or not 0 <= damping <= 1:
    raise BadInput(f"evaluate={spec}: give a damping from 0 to 1")
  return Newton("full" if name == "newton" else "diagonal", damping)
