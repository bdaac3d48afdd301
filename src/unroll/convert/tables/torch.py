"""PyTorch: torch.nn's layers, and its cells."""

import re

from unroll.convert.forms import Slot
from unroll.convert.forms import one_below_the_other as layer
from unroll.convert.framework import Framework, Outer, Place

_NAME = re.compile(r"(.*?\.?)((?:weight|bias)_(?:ih|hh|hr))_l(\d+)(_reverse)?(_raw)?")


def _called(cell: str, place: Place) -> str:
  reverse = "_reverse" if place.backward else ""
  if place.alike:
    return f"rnn.{{}}_l{place.layer}{reverse}"
  return f"rnns.{place.layer}.{{}}_l0{reverse}"


def _parted(name: str) -> str:
  # What is wrapped, as by DataParallel and WeightDrop, stands beside what is not.
  name = re.sub(r"(^|\.)module\.", r"\1", name)
  if match := _NAME.fullmatch(name):
    name = f"{match[1]}{match[3]}{match[4] or ''}.{match[2]}"
  return name.replace(".", "/")


TORCH = Framework(
  "torch",
  {
    **dict.fromkeys(("rnn", "relu_rnn", "irnn"), (layer("nn.RNN", "h"),)),
    "gru": (layer("nn.GRU", "rzn", inner="n"),),
    "lstm": (layer("nn.LSTM", "ifgo"),),
    "lstm_projected": (
      layer("nn.LSTM", "ifgo", Slot("weight_hr", ((("y", "y"),),), turned=True)),
    ),
  },
  _called,
  Outer("encoder.weight", "decoder.weight", "decoder.bias", turned=True),
  {
    "gru_reset_before": "its GRU resets after the product",
    "linear_rnn": "its RNN ends in tanh or ReLU",
  },
  _parted,
  narrows=True,
)
