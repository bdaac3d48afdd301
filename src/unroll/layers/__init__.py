"""Sequence -> sequence: recurrent, stacked, bidirectional, and the Flax layer."""

from unroll.layers.linen import Recurrent, initial_carry
from unroll.layers.sequences import (
  MERGES,
  BidirectionalCarry,
  Layer,
  Merge,
  as_layer,
  bidirectional,
  recurrent,
  rematerialised,
  stacked,
)

__all__ = [
  "MERGES",
  "BidirectionalCarry",
  "Layer",
  "Merge",
  "Recurrent",
  "as_layer",
  "bidirectional",
  "initial_carry",
  "recurrent",
  "rematerialised",
  "stacked",
]
