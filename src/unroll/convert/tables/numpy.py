"""Plain arrays: our parameters as they are, under the names of a run's leaves."""

from unroll.convert.framework import Framework, Outer, Place
from unroll.convert.tables.ours import OURS


def _called(cell: str, place: Place) -> str:
  return f"recurrent/core/{'backward_' * place.backward}{place.layer}/{{}}"


NUMPY = Framework(
  "numpy",
  {cell: (form,) for cell, form in OURS.items()},
  _called,
  Outer("embed/embedding", "output/kernel", "output/bias"),
)
