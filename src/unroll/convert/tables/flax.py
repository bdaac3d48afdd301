"""Flax: the cells of Linen, a dense layer a gate, and of NNX, two dense layers."""

from unroll.convert.forms import Form, Slot, biases, form, row, side_by_side
from unroll.convert.framework import (
  VANILLA,
  Framework,
  Outer,
  Place,
  direction,
  parted,
)


def _dense(layer: str, gates: str, biased: str, inner: str = "") -> Form:
  """A dense layer for each gate and side; `biased` says on which side biases are."""
  slots = []
  for gate in gates:
    i, h = ("i", "h") if len(gates) == 1 else (f"i{gate}", f"h{gate}")
    slots.append(Slot(f"{i}/kernel", ((("x", gate),),)))
    slots.append(Slot(f"{h}/kernel", ((("h", gate),),)))
    if biased == "i":
      slots.append(Slot(f"{i}/bias", ((("b", gate),),)))
    if biased == "h" or gate in inner:
      slots.append(Slot(f"{h}/bias", (biases(gate, inner),)))
  return form(layer, *slots)


def _called(cell: str, place: Place) -> str:
  if place.directions == 2:
    return f"rnns_{place.layer}/{direction(place)}_rnn/cell/{{}}"
  return f"rnns_{place.layer}/cell/{{}}"


_LACKS = {
  "lstm_projected": "its LSTM has no recurrent projection",
  "gru_reset_before": "its GRU resets after the product",
}
_OUTER = Outer("embed/embedding", "output/kernel", "output/bias")
_LSTM = _dense("LSTMCell", "ifgo", "h")

LINEN = Framework(
  "linen",
  {
    **dict.fromkeys(VANILLA, (_dense("SimpleCell", "h", "i"),)),
    "gru": (_dense("GRUCell", "rzn", "i", inner="n"),),
    "lstm": (_LSTM,),
    "mgu_reset_after": (_dense("MGUCell", "fn", "i", inner="n"),),
  },
  _called,
  _OUTER,
  _LACKS,
  parted,
)

_DENSE = ("dense_i/kernel", "dense_h/kernel", "dense_i/bias")
# Its name for the gate f is a word of Python's.
_SLOTS = (slot._replace(name=slot.name.replace("if/", "if_/")) for slot in _LSTM.slots)

NNX = Framework(
  "nnx",
  {
    **dict.fromkeys(VANILLA, (form("SimpleCell", *side_by_side("h", *_DENSE)),)),
    "gru": (form("nnx.GRUCell", *side_by_side("rzn", *_DENSE)),),
    "lstm": (
      form(
        "OptimizedLSTMCell",
        Slot("dense_i/kernel", (row("x", "ifgo"),)),
        Slot("dense_h/kernel", (row("h", "ifgo"),)),
        Slot("dense_h/bias", (row("b_h", "ifgo"),)),
      ),
      form("LSTMCell", *_SLOTS),
    ),
  },
  lambda cell, place: _called(cell, place).replace("rnns_", "rnns/"),
  _OUTER,
  _LACKS,
  parted,
)
