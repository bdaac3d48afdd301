"""Keras: the variables of a layer by their numbers, as its files have them.

By their own names, with which older files and `variable.path` have them, they are read.
"""

from unroll.convert.forms import Form, Slot, biases, form, row, side_by_side
from unroll.convert.framework import VANILLA, Framework, Outer, Place, direction

_NAMES = ("kernel", "recurrent_kernel", "bias")


def _layer(name: str, gates: str, inner: str = "") -> tuple[Form, Form]:
  def called(*names: str) -> Form:
    kernels = side_by_side(gates, *names)
    if not inner:
      return form(name, *kernels)
    both = Slot(names[2], (row("b", gates), biases(gates, inner)))
    return form(name, *kernels[:2], both)

  return called("vars/0", "vars/1", "vars/2"), called(*_NAMES)


def _called(cell: str, place: Place) -> str:
  number = f"_{place.layer}" if place.layer else ""
  if place.directions == 2:
    return f"layers/bidirectional{number}/{direction(place)}_layer/cell/{{}}"
  kind = next((kind for kind in ("lstm", "gru") if kind in cell), "simple_rnn")
  return f"layers/{kind}{number}/cell/{{}}"


KERAS = Framework(
  "keras",
  {
    **dict.fromkeys(VANILLA, _layer("SimpleRNN", "h")),
    "gru": _layer("GRU", "zrn", inner="n"),
    "gru_reset_before": _layer("GRU(reset_after=False)", "zrn"),
    "lstm": _layer("LSTM", "ifgo"),
  },
  _called,
  Outer("layers/embedding/vars/0", "layers/dense/vars/0", "layers/dense/vars/1"),
  {"lstm_projected": "its LSTM has no recurrent projection"},
  lambda name: name.removesuffix(":0"),
)
