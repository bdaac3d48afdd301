"""The cells of frameworks, array by array: names, orders and signs, a file each.

A cell stands under the name of ours that computes the same. Of several classes of a
framework for one cell the first is written, and all are read.
"""

from unroll.convert.forms import Form
from unroll.convert.framework import Framework
from unroll.convert.tables.equinox import EQUINOX
from unroll.convert.tables.flax import LINEN, NNX
from unroll.convert.tables.haiku import HAIKU
from unroll.convert.tables.keras import KERAS
from unroll.convert.tables.ours import OURS as OURS
from unroll.convert.tables.torch import TORCH
from unroll.types import BadInput

FRAMEWORKS = {f.name: f for f in (TORCH, KERAS, LINEN, NNX, HAIKU, EQUINOX)}


def framework(name: str) -> Framework:
  """The framework of a name.

  Raises:
    BadInput: there is none.
  """
  if name not in FRAMEWORKS:
    raise BadInput(f"framework {name} is none of {', '.join(FRAMEWORKS)}")
  return FRAMEWORKS[name]


def form_of(there: Framework, cell: str) -> Form:
  """The form in which a framework writes a cell.

  Raises:
    BadInput: it has no such cell.
  """
  if cell in there.cells:
    return there.cells[cell][0]
  reason = there.lacks.get(cell, f"of ours it has {', '.join(there.cells)}")
  able = " and ".join(n for n, other in FRAMEWORKS.items() if cell in other.cells)
  nearest = f"; {able} can hold it" if able else ""
  raise BadInput(f"{there.name} cannot hold cell={cell}: {reason}{nearest}")


def with_inner_bias(cell: str) -> str:
  """The frameworks that have a bias within the product that the reset gate meets."""
  held = {n: f.cells[cell][0] for n, f in FRAMEWORKS.items() if cell in f.cells}
  return " and ".join(
    name for name, form in held.items() if "b_r" in {role for role, _ in form.keys}
  )
