"""Recurrent cells, one equation a file, and the registry of their names."""

from collections.abc import Callable

from unroll.cells.gru import GRUCarry, GRUParams, GRUResetBeforeParams
from unroll.cells.gru import gru as gru
from unroll.cells.gru import gru_reset_before as gru_reset_before
from unroll.cells.lstm import LSTMCarry, LSTMParams
from unroll.cells.lstm import lstm as lstm
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
  "lstm": lstm,
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
  "gru",
  "gru_reset_before",
  "irnn",
  "linear_rnn",
  "lstm",
  "relu_rnn",
  "vanilla",
]
