"""Haiku: one matrix for input and state, a hidden bias of 1, an opposite gate."""

from unroll.convert.forms import Slot, form, row, side_by_side
from unroll.convert.framework import Framework, Outer, Place

_RNN = form(
  "VanillaRNN",
  Slot("linear/w", (row("x", "h"),)),
  Slot("linear_1/w", (row("h", "h"),)),
  Slot("linear/b", (row("b", "h"),)),
  Slot("linear_1/b", (row("b_h", "h"),)),
)
_LSTM = form(
  "LSTM",
  Slot("linear/w", (row("x", "igfo"), row("h", "igfo"))),
  Slot("linear/b", (row("b", "igfo"),)),
  f=1.0,
)
_GRU = form("GRU", *side_by_side("zrn", "w_i", "w_h", "b"), negated="z")
_RELU = "its RNN ends in ReLU, as our relu_rnn"


def _called(cell: str, place: Place) -> str:
  kind = next((kind for kind in ("lstm", "gru") if kind in cell), "vanilla_rnn")
  number = f"_{place.layer}" if place.layer else ""
  return f"{'backward_' * place.backward}{kind}{number}/{{}}"


HAIKU = Framework(
  "haiku",
  {
    **dict.fromkeys(("relu_rnn", "irnn"), (_RNN,)),
    "gru_reset_before": (_GRU,),
    "lstm": (_LSTM,),
  },
  _called,
  Outer("embed/embeddings", "linear/w", "linear/b"),
  {
    **dict.fromkeys(("rnn", "linear_rnn"), _RELU),
    "gru": "its GRU resets before the product, as our gru_reset_before",
    "lstm_projected": "its LSTM has no recurrent projection",
  },
  # A dense layer has the names of an LSTM, and may have the shapes of one.
  within=r"(.*[/_])?(lstm|gru|vanilla_rnn)(_\d+)?",
)
