"""An architecture: the recurrent layers of a model, and what stands between them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unroll import start
from unroll.cells import CELLS
from unroll.cells.named import named_cell
from unroll.compose import Wiring, learned_carry
from unroll.layers import Layer, stacked
from unroll.layers import bidirectional as both_ways
from unroll.settings import setting
from unroll.types import BadInput, Cell

WIDEST = 10**8  # of a layer: its gates side by side still have indices of 32 bits


@dataclass(frozen=True)
class Precision:
  """Precision"""

  dtype: str = setting(
    "float32",
    "type of matrix products; sums are float32",
    choices=("float32", "bfloat16"),
  )


@dataclass(frozen=True)
class Architecture:
  """Layers"""

  cell: str = setting(
    "lstm",
    "the recurrent cell; its options follow a colon, as in lstm:forget_bias=2",
    choices=sorted(CELLS),
    kind="spec",
  )
  layers: int = setting(2, "recurrent layers", least=1, most=1000)
  hidden: tuple[int, ...] = setting(
    (256,),
    "hidden units: of every layer, or one number a layer",
    least=1,
    most=WIDEST,
  )
  residual: bool = setting(False, "adds a layer's input to its output")
  skip: bool = setting(
    False, "feeds the input to, and reads the output of, every layer"
  )
  dropout: float = setting(0.0, "rate between layers, on the input and the output")
  input_dropout: float | None = setting(
    None, "rate on the input; as between layers if not given"
  )
  dropout_mask: str = setting(
    "step", "a mask each step, or one for all steps", choices=("step", "sequence")
  )
  init: str = setting(
    "", "orthogonal, glorot, identity, uniform, normal:STD or chrono:T_max"
  )
  forget_bias: float | None = setting(
    None,
    "at the start, of the gate that keeps the state: the LSTM's forget gate (1 if not "
    "given), a GRU's update gate (0)",
  )
  learned_carry: bool = setting(False, "learns the initial carry instead of zero")

  @property
  def sizes(self) -> list[int]:
    """The hidden units of each layer, first to last."""
    if len(self.hidden) == 1:
      return list(self.hidden) * self.layers
    return list(self.hidden)

  @property
  def wiring(self) -> Wiring:
    """What stands between the layers."""
    inputs = self.input_dropout
    return Wiring(
      residual=self.residual,
      skip=self.skip,
      dropout=self.dropout,
      input_dropout=self.dropout if inputs is None else inputs,
      output_dropout=self.dropout,
      locked=self.dropout_mask == "sequence",
    ).check()

  @property
  def output_size(self) -> int:
    """The width of what the top layer hands on."""
    return self.wiring.output_size(self.sizes)

  def cells(self, input_size: int) -> list[Cell]:
    """The cells of the layers, first to last.

    Args:
      input_size: D, the width of the input.

    Raises:
      BadInput: an unknown cell, or an option that the cell does not have.
    """
    return self._cells(self.wiring.input_sizes(input_size, self.sizes))

  def encoder(self, input_size: int, bidirectional: bool = False) -> tuple[Layer, int]:
    """The layers as one, and the width of what it hands on.

    Args:
      input_size: D, the width of the input.
      bidirectional: every layer reads from both sides (`layers.bidirectional`), each
        with the hidden units of its layer, and hands on both outputs of a step side by
        side: 2 H.
    """
    if not bidirectional:
      return stacked(*self.cells(input_size), wiring=self.wiring), self.output_size
    both = [2 * size for size in self.sizes]
    inputs = self.wiring.input_sizes(input_size, both)
    layers = map(both_ways, self._cells(inputs), self._cells(inputs))
    return stacked(*layers, wiring=self.wiring), self.wiring.output_size(both)

  def _cells(self, input_sizes: list[int]) -> list[Cell]:
    make, given = named_cell(self.cell)
    options = self._options(make, given)
    cells = [make(*sizes, **options) for sizes in zip(input_sizes, self.sizes)]
    return [learned_carry(cell) for cell in cells] if self.learned_carry else cells

  def model_options(self) -> dict[str, Any]:
    """The start of a model's output matrix, where `init` gives one."""
    if not self.init:
      return {}
    return {"kernel_init": start.named_init(self.init).kernel}

  def _options(
    self, make: Callable[..., Cell], given: Mapping[str, Any]
  ) -> dict[str, Any]:
    """The options of the cell: its own, and those that have a setting."""
    options, takes = dict(given), inspect.signature(make).parameters
    if self.init:
      if self.init.startswith("chrono") and "forget_bias" not in takes:
        raise BadInput(
          f"init={self.init} sets gates and cell={self.cell} has none: choose a gru or "
          "lstm cell, or another `init`"
        )
      if "init" not in takes:
        raise BadInput(
          f"init={self.init}: cell={self.cell} starts in a way of its own: drop it"
        )
      options["init"] = start.named_init(self.init)
    if self.forget_bias is not None:
      if "forget_bias" in given:
        raise BadInput(
          f"forget_bias={self.forget_bias} and cell={self.cell} both set it: drop one"
        )
      if "forget_bias" not in takes:
        raise BadInput(
          f"forget_bias={self.forget_bias} sets a gate and cell={self.cell} has none: "
          "drop it, or choose a gru or lstm cell"
        )
      options["forget_bias"] = self.forget_bias
    if "forget_bias" in options and self.init.startswith("chrono"):
      raise BadInput(
        f"forget_bias={options['forget_bias']} and init={self.init} both set the gate "
        "that keeps the state: drop one of them"
      )
    return options
