"""Recurrent cells, a family a file, their equations in sight; the registry of names.

`cells.named.named_cell` reads a name with options, as people write it.
"""

from collections.abc import Callable

from unroll.cells.additive import ran as ran
from unroll.cells.bistable import brc as brc
from unroll.cells.bistable import nbrc as nbrc
from unroll.cells.clockwork import clockwork_rnn as clockwork_rnn
from unroll.cells.constrained import antisymmetric_rnn as antisymmetric_rnn
from unroll.cells.constrained import exp_rnn as exp_rnn
from unroll.cells.convolutional import conv_gru, conv_lstm
from unroll.cells.coupled import cifg as cifg
from unroll.cells.decaying import gru_d as gru_d
from unroll.cells.delta import gated_delta as gated_delta
from unroll.cells.diagonal import s4d as s4d
from unroll.cells.exponential import slstm as slstm
from unroll.cells.fast import fast_grnn as fast_grnn
from unroll.cells.fast import fast_rnn as fast_rnn
from unroll.cells.griffin import rg_lru as rg_lru
from unroll.cells.gru import GRUCarry, GRUParams, GRUResetBeforeParams
from unroll.cells.gru import gru as gru
from unroll.cells.gru import gru_reset_before as gru_reset_before
from unroll.cells.highway import rhn as rhn
from unroll.cells.independent import indrnn as indrnn
from unroll.cells.light import li_gru as li_gru
from unroll.cells.liquid import cfc as cfc
from unroll.cells.liquid import ltc as ltc
from unroll.cells.lstm import LSTMCarry, LSTMParams
from unroll.cells.lstm import lstm as lstm
from unroll.cells.matrix_lstm import mlstm as mlstm
from unroll.cells.minimal import (
  janet,
  mgu,
  mgu_reset_after,
  minimal_rnn,
  ugrnn,
)
from unroll.cells.mogrifier import lstm_mogrifier as lstm_mogrifier
from unroll.cells.multiplicative import lstm_multiplicative as lstm_multiplicative
from unroll.cells.nas import nas as nas
from unroll.cells.normalized import gru_layer_norm, lstm_layer_norm
from unroll.cells.oscillating import co_rnn as co_rnn
from unroll.cells.oscillating import lem as lem
from unroll.cells.parallel import min_gru, min_lstm, qrnn, sru
from unroll.cells.peephole import lstm_peephole as lstm_peephole
from unroll.cells.phased import phased_lstm as phased_lstm
from unroll.cells.projected import lstm_projected as lstm_projected
from unroll.cells.reservoir import echo_state as echo_state
from unroll.cells.state_space import lru as lru
from unroll.cells.state_space import s5 as s5
from unroll.cells.structural import scrn as scrn
from unroll.cells.vanilla import (
  VanillaCarry,
  VanillaParams,
  irnn,
  linear_rnn,
  relu_rnn,
  vanilla,
)
from unroll.types import Cell

CELLS: dict[str, Callable[..., Cell]] = {
  "rnn": vanilla,
  "relu_rnn": relu_rnn,
  "linear_rnn": linear_rnn,
  "irnn": irnn,
  "gru": gru,
  "gru_reset_before": gru_reset_before,
  "gru_layer_norm": gru_layer_norm,
  "lstm": lstm,
  "lstm_peephole": lstm_peephole,
  "lstm_projected": lstm_projected,
  "lstm_layer_norm": lstm_layer_norm,
  "lstm_multiplicative": lstm_multiplicative,
  "lstm_mogrifier": lstm_mogrifier,
  "cifg": cifg,
  "janet": janet,
  "mgu": mgu,
  "mgu_reset_after": mgu_reset_after,
  "ugrnn": ugrnn,
  "minimal_rnn": minimal_rnn,
  "brc": brc,
  "nbrc": nbrc,
  "rhn": rhn,
  "scrn": scrn,
  "li_gru": li_gru,
  "ran": ran,
  "fast_rnn": fast_rnn,
  "fast_grnn": fast_grnn,
  "nas": nas,
  "slstm": slstm,
  "mlstm": mlstm,
  "gated_delta": gated_delta,
  "co_rnn": co_rnn,
  "lem": lem,
  "antisymmetric_rnn": antisymmetric_rnn,
  "exp_rnn": exp_rnn,
  "clockwork_rnn": clockwork_rnn,
  "phased_lstm": phased_lstm,
  "gru_d": gru_d,
  "cfc": cfc,
  "ltc": ltc,
  "echo_state": echo_state,
  "indrnn": indrnn,
  "rg_lru": rg_lru,
  "lru": lru,
  "s5": s5,
  "s4d": s4d,
  "min_gru": min_gru,
  "min_lstm": min_lstm,
  "qrnn": qrnn,
  "sru": sru,
}

__all__ = [
  "CELLS",
  "GRUCarry",
  "GRUParams",
  "GRUResetBeforeParams",
  "LSTMCarry",
  "LSTMParams",
  "VanillaCarry",
  "VanillaParams",
  *(function.__name__ for function in CELLS.values()),
  # Of another signature: their input has a shape.
  "conv_gru",
  "conv_lstm",
]
