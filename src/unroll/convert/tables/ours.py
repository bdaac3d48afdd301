"""Our cells that others have too, under the names of their fields."""

from unroll.convert.forms import Form, Slot, form, row, side_by_side
from unroll.convert.framework import VANILLA


def _dense(cell: str, gates: str, *more: Slot) -> Form:
  return form(cell, *side_by_side(gates, "w_x", "w_h", "b"), *more)


OURS: dict[str, Form] = {
  **dict.fromkeys(VANILLA, _dense("rnn", "h")),
  "lstm": _dense("lstm", "ifgo"),
  "lstm_projected": _dense("lstm_projected", "ifgo", Slot("w_y", ((("y", "y"),),))),
  "gru": _dense("gru", "rzn", Slot("b_n", (row("b_r", "n"),))),
  "gru_reset_before": form(
    "gru_reset_before",
    Slot("w_x", (row("x", "rzn"),)),
    Slot("w_rz", (row("h", "rz"),)),
    Slot("w_n", (row("h", "n"),)),
    Slot("b", (row("b", "rzn"),)),
  ),
  "mgu_reset_after": _dense("mgu_reset_after", "fn"),
}
