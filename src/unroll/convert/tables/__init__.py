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
from unroll.convert.tables.numpy import NUMPY
from unroll.convert.tables.ours import OURS as OURS
from unroll.convert.tables.torch import TORCH
from unroll.types import BadInput

FRAMEWORKS = {f.name: f for f in (TORCH, KERAS, LINEN, NNX, HAIKU, EQUINOX, NUMPY)}


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
  able = " and ".join(_others(cell))
  nearest = f"; {able} can hold it" if able else ""
  raise BadInput(f"{there.name} cannot hold cell={cell}: {reason}{nearest}")


def with_inner_bias(cell: str) -> str:
  """The frameworks that have a bias within the product that the reset gate meets."""
  return " and ".join(
    name
    for name, form in _others(cell).items()
    if "b_r" in {role for role, _ in form.keys}
  )


def _others(cell: str) -> dict[str, Form]:
  """The forms that frameworks have of a cell; plain arrays compute nothing."""
  able = {name: f.cells for name, f in FRAMEWORKS.items() if f is not NUMPY}
  return {name: cells[cell][0] for name, cells in able.items() if cell in cells}
