"""An architecture: the recurrent layers of a model, and what stands between them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax

from unroll import clipping, scan, start
from unroll.cells import CELLS
from unroll.cells.named import named_cell
from unroll.compose import Wiring, heads, learned_carry
from unroll.layers import Layer, stacked
from unroll.layers import bidirectional as both_ways
from unroll.newton import named_evaluation
from unroll.regularizers import dropconnect, dropped_state, weight_noise, zoneout
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


class Layers(Protocol):
  """What models ask of the settings of their layers: `Architecture`, or another."""

  @property
  def sizes(self) -> list[int]:
    """The width of each layer, first to last."""

  def encoder(self, input_size: int, bidirectional: bool = ...) -> tuple[Layer, int]:
    """The layers as one, and the width of what it hands on."""

  def model_options(self) -> dict[str, Any]:
    """The start of a model's output matrix."""


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
  heads: int = setting(
    1,
    "blocks of a layer's units, each of which reads no state but its own",
    least=1,
  )
  residual: bool = setting(False, "adds a layer's input to its output")
  skip: bool = setting(
    False, "feeds the input to, and reads the output of, every layer"
  )
  dropout: float = setting(0.0, "rate between layers, on the input and the output")
  input_dropout: float | None = setting(
    None, "rate on the input; as between layers if not given"
  )
  output_dropout: float | None = setting(
    None, "rate on the output; as between layers if not given"
  )
  dropout_mask: str = setting(
    "step", "a mask each step, or one for all steps", choices=("step", "sequence")
  )
  init: str = setting(
    "", "orthogonal, glorot, identity, uniform[:BOUND], normal:STD or chrono:T_max"
  )
  forget_bias: float | None = setting(
    None,
    "at the start, of the gate that keeps the state: the LSTM's forget gate (1 if not "
    "given), a GRU's update gate (0)",
  )
  zoneout: tuple[float, ...] = setting(
    (),
    "rate at which a unit keeps its state for a step: of every state, or one number a "
    "state, as 0.5,0.05 for an LSTM's c and h",
  )
  recurrent_dropout: float = setting(
    0.0, "rate on the state that recurrent products read; what is kept stays whole"
  )
  recurrent_mask: str = setting(
    "sequence",
    "of recurrent_dropout: a mask each step, or one for all steps",
    choices=("step", "sequence"),
  )
  weight_dropout: float = setting(
    0.0, "rate on the elements of recurrent matrices, one mask an update (DropConnect)"
  )
  weight_noise: float = setting(
    0.0, "standard deviation of noise on the layers' matrices, drawn once an update"
  )
  learned_carry: bool = setting(False, "learns the initial carry instead of zero")
  carry_clip: float = setting(
    0.0,
    "clipping threshold of the gradient to the state, at every step back; 0: off",
    least=0,
  )
  carry_clip_by: str = setting(
    "value",
    "what carry_clip holds below the threshold: every element, or the norm of each "
    "sequence of the batch",
    choices=clipping.BY,
  )

  evaluate: str = setting(
    "sequential",
    "how nonlinear layers go through time: sequential, newton[:DAMPING] or "
    "quasi_newton[:DAMPING], all steps at once",
    role="call",
  )

  @property
  def sizes(self) -> list[int]:
    """The hidden units of each layer, first to last."""
    if len(self.hidden) == 1:
      return list(self.hidden) * self.layers
    return list(self.hidden)

  @property
  def wiring(self) -> Wiring:
    """What stands between the layers."""
    inputs, outputs = self.input_dropout, self.output_dropout
    return Wiring(
      residual=self.residual,
      skip=self.skip,
      dropout=self.dropout,
      input_dropout=self.dropout if inputs is None else inputs,
      output_dropout=self.dropout if outputs is None else outputs,
      locked=self.dropout_mask == "sequence",
    ).check()

  def cells(self, input_size: int) -> list[Cell]:
    """The cells of the layers, first to last, without what is drawn of weights.

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
    widths = [(1 + bidirectional) * size for size in self.sizes]
    inputs = self.wiring.input_sizes(input_size, widths)
    layers = self._layers(inputs)
    if bidirectional:
      if named_cell(self.cell)[1].get("timed"):
        raise BadInput(
          f"cell={self.cell} with `bidirectional`: read from the right, a step comes "
          "after another one than its time says: drop one of them"
        )
      layers = list(map(both_ways, layers, self._layers(inputs)))
    return stacked(*layers, wiring=self.wiring), self.wiring.output_size(widths)

  def _cells(self, input_sizes: list[int]) -> list[Cell]:
    make, given = named_cell(self.cell)
    if given.get("timed"):
      self._check_timed()
    options = self._options(make, given)
    cells = [
      self._headed(partial(make, inputs, **options), hidden)
      for inputs, hidden in zip(input_sizes, self.sizes)
    ]
    if self.carry_clip:
      clip = (self.carry_clip, self.carry_clip_by)
      cells = [clipping.clipped_state(cell, *clip) for cell in cells]
    way = named_evaluation(self.evaluate)
    if way is None:
      return cells
    cells = [cell._replace(newton=way) for cell in cells]
    for cell, width in zip(cells, input_sizes):
      self._check_evaluation(cell, width)
    return cells

  def _check_evaluation(self, cell: Cell, width: int) -> None:
    """Refuses a cell whose steps cannot be taken at once, or are so already."""
    params, carry = jax.eval_shape(lambda: _begun(cell))
    xs: Any = jax.ShapeDtypeStruct((2, 1, width), "float32")
    path = scan.path(cell, params, carry, xs)
    if path.name != "newton":
      raise BadInput(
        f"evaluate={self.evaluate} says nothing to these layers of cell={self.cell}: "
        f"{path.reason}; give evaluate=sequential"
      )

  def _check_timed(self) -> None:
    """Refuses what keeps the time, the last input, from a layer, or changes it."""
    if len(self.sizes) > 1 and not self.skip:
      raise BadInput(
        f"cell={self.cell} with layers={len(self.sizes)}: the first alone would read "
        "the time: give layers=1, or `skip`, which feeds the input to every layer"
      )
    if self.wiring.input_dropout:
      raise BadInput(
        f"cell={self.cell} with input_dropout={self.wiring.input_dropout}: it would "
        "change the time, which is an input: give input_dropout=0"
      )

  def _headed(self, make: Callable[[int], Cell], hidden: int) -> Cell:
    """A cell of so many units, in one block or several."""
    if hidden % self.heads:
      raise BadInput(f"heads={self.heads} do not divide hidden={hidden}")
    blocks = [self._regularized(make(hidden // self.heads)) for _ in range(self.heads)]
    return heads(blocks) if self.heads > 1 else blocks[0]

  def _regularized(self, cell: Cell) -> Cell:
    """The cell with what is asked for around it."""
    if self.recurrent_dropout:
      locked = self.recurrent_mask == "sequence"
      cell = dropped_state(cell, self.recurrent_dropout, locked=locked)
    if self.zoneout:
      rates = self.zoneout
      cell = zoneout(cell, rates if len(rates) > 1 else rates[0])
    return learned_carry(cell) if self.learned_carry else cell

  def _layers(self, input_sizes: list[int]) -> Sequence[Cell | Layer]:
    layers: Sequence[Cell | Layer] = self._cells(input_sizes)
    if self.weight_dropout:
      layers = [dropconnect(layer, self.weight_dropout) for layer in layers]
    if self.weight_noise:
      layers = [weight_noise(layer, self.weight_noise) for layer in layers]
    return layers

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
          "drop it, or choose a gated cell such as gru or lstm"
        )
      options["forget_bias"] = self.forget_bias
    if "forget_bias" in options and self.init.startswith("chrono"):
      raise BadInput(
        f"forget_bias={options['forget_bias']} and init={self.init} both set the gate "
        "that keeps the state: drop one of them"
      )
    return options


def _begun(cell: Cell) -> tuple[Any, Any]:
  """Parameters of a cell, and the carry of one sequence."""
  params = cell.init(jax.random.key(0))
  return params, cell.carry(params, 1)
