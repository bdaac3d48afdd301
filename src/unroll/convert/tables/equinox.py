"""Equinox: eqx.nn's cells; what unrolls them is the user's."""

from unroll.convert.forms import Slot, one_below_the_other, row
from unroll.convert.framework import VANILLA, Framework, Outer, Place, parted


def _called(cell: str, place: Place) -> str:
  return f"{'backward_' * place.backward}cells/{place.layer}/{{}}"


_N = Slot("bias_n", (row("b_r", "n"),))

EQUINOX = Framework(
  "equinox",
  {
    "gru": (one_below_the_other("GRUCell", "rzn", _N, second=False),),
    "lstm": (one_below_the_other("LSTMCell", "ifgo", second=False),),
  },
  _called,
  Outer("embed/weight", "output/weight", "output/bias", turned=True),
  {
    **dict.fromkeys(VANILLA, "it has no plain RNN"),
    "gru_reset_before": "its GRU resets after the product",
    "lstm_projected": "its LSTM has no recurrent projection",
  },
  parted,
)
