"""Recurrent layers among the arrays of a model: found by name and shape, and named."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.convert.forms import Arrays
from unroll.convert.framework import Framework, Place
from unroll.convert.tables import OURS, form_of, with_inner_bias
from unroll.names import by_name
from unroll.types import BadInput, Params

_BACKWARD = re.compile(r"reverse|backward")


class Stack(NamedTuple):
  """Recurrent layers, as ours.

  Attributes:
    cell: its name in `cells.CELLS`.
    layers: first to last, of each its directions: the parameters by their names.
  """

  cell: str
  layers: tuple[tuple[Mapping[str, NDArray[Any]], ...], ...]

  @property
  def directions(self) -> int:
    """1, or 2 of bidirectional layers."""
    return len(self.layers[0])

  @property
  def inputs(self) -> int:
    """D, the width of what the first layer reads."""
    return self.reads[0]

  @property
  def hidden(self) -> tuple[int, ...]:
    """H of each layer."""
    recurrent = "w_n" if self.cell == "gru_reset_before" else "w_h"
    return tuple(layer[0][recurrent].shape[0] for layer in self.layers)

  @property
  def reads(self) -> tuple[int, ...]:
    """The width of what each layer reads."""
    return tuple(layer[0]["w_x"].shape[0] for layer in self.layers)

  @property
  def spec(self) -> str:
    """The cell with the options that its arrays tell, as a setting has them."""
    if self.cell != "lstm_projected":
      return self.cell
    memory = {layer[0]["w_y"].shape[0] for layer in self.layers}
    if len(memory) > 1:
      raise BadInput(
        f"layers of {self.cell} have memories of {sorted(memory)} units, and here all "
        "have as many: no run can hold them"
      )
    return f"{self.cell}:memory={memory.pop()}"

  def reading(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> "Stack":
    """The same with another matrix of what the first layer reads, `[D, …]`."""
    first = tuple({**own, "w_x": change(own["w_x"])} for own in self.layers[0])
    return self._replace(layers=(first, *self.layers[1:]))

  def params(self) -> tuple[Any, ...]:
    """The parameters of the layers by name: of both directions a pair."""
    return tuple(
      tuple(layer) if len(layer) > 1 else dict(layer[0]) for layer in self.layers
    )


def of_params(cell: str, params: Params, directions: int = 1) -> Stack:
  """The layers of a stack's parameters.

  Args:
    cell: its name in `cells.CELLS`.
    params: of `layers.stacked`, of one kind of cell.
    directions: 2 of bidirectional layers.

  Raises:
    BadInput: the parameters are more than those of the cell.
  """
  each = [layer if directions == 2 else (layer,) for layer in params]
  layers = tuple(tuple(map(_named, layer)) for layer in each)
  if cell not in OURS:
    raise BadInput(
      f"cell={cell} is of no other framework: those that travel are {', '.join(OURS)}"
    )
  wanted = {slot.name for slot in OURS[cell].slots}
  for layer in layers:
    for own in layer:
      if more := own.keys() ^ wanted:
        raise BadInput(
          f"a layer of cell={cell} has {', '.join(sorted(more))} as well: heads and "
          "learned initial carries are of no other framework"
        )
  return Stack(cell, layers)


def _named(params: Params) -> dict[str, NDArray[Any]]:
  return {"/".join(name): np.asarray(leaf) for name, leaf in by_name(params).items()}


def called(there: Framework, stack: Stack, number: int, side: int) -> str:
  """The names of a layer's arrays in a framework, "{}" for that within the layer.

  Args:
    there: the framework.
    stack: of layers.
    number: of the layer.
    side: 1 for the one that reads from the right.
  """
  alike = len(set(stack.hidden)) == 1
  return there.called(stack.cell, Place(number, side > 0, stack.directions, alike))


def written(there: Framework, stack: Stack) -> dict[str, NDArray[Any]]:
  """The arrays of layers, under the names that a framework has for them.

  Raises:
    BadInput: it cannot hold them; the sentence says what can.
  """
  form, found = form_of(there, stack.cell), dict[str, NDArray[Any]]()
  if there.narrows and stack.cell == "lstm_projected":
    for memory, width in (layer[0]["w_y"].shape for layer in stack.layers):
      if memory <= width:
        raise BadInput(
          f"{there.name} cannot hold cell={stack.spec}: its layer takes a state of "
          f"{width} only from a memory that is wider; numpy can hold it"
        )
  for number, layer in enumerate(stack.layers):
    for side, own in enumerate(layer):
      try:
        arrays = form.arrays(OURS[stack.cell].blocks(own))
      except BadInput as error:
        able = with_inner_bias(stack.cell) or "no framework"
        raise BadInput(f"cell={stack.cell}: {error}; {able} can hold it") from None
      names = called(there, stack, number, side)
      found |= {names.format(name): array for name, array in arrays.items()}
  return found


def read(
  there: Framework, arrays: Arrays, cell: str = ""
) -> tuple[Stack, dict[str, NDArray[Any]]]:
  """The recurrent layers among arrays.

  They are told by the ends of their names and by their shapes; what stands before is
  free. Layers follow each other in the order of their names, numbers as numbers.

  Args:
    there: whose names they are.
    arrays: by name.
    cell: which of the cells that have the same arrays it is, as rnn and relu_rnn;
      empty: the first in the table.

  Returns:
    The layers, and the arrays that are of none.

  Raises:
    BadInput: there are none, or of different kinds, or they do not follow each other.
  """
  groups, rest = _groups(there, arrays)
  fitting = [
    name
    for name, forms in there.cells.items()
    if groups and all(any(f.fits(own) for f in forms) for own in groups.values())
  ]
  if not fitting:
    raise BadInput(_nothing(there, arrays, groups))
  if cell and cell not in fitting:
    form_of(there, cell)
    raise BadInput(f"cell={cell}: by their names and shapes it is {', '.join(fitting)}")
  chosen = cell or fitting[0]
  layers: list[list[dict[str, NDArray[Any]]]] = []
  for prefix in sorted(groups, key=_order):
    form = next(f for f in there.cells[chosen] if f.fits(groups[prefix]))
    own = OURS[chosen].arrays(form.blocks(groups[prefix]))
    if _BACKWARD.search(prefix):
      if not layers or len(layers[-1]) > 1:
        raise BadInput(f"{prefix} reads from the right without a layer from the left")
      layers[-1].append(own)
    else:
      layers.append([own])
  stack = Stack(chosen, tuple(map(tuple, layers)))
  _check(stack)
  return stack, rest


def _groups(
  there: Framework, arrays: Arrays
) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]:
  """The arrays of each layer by what their names begin with, and the others."""
  forms = [form for forms in there.cells.values() for form in forms]
  slots = {slot.name for form in forms for slot in form.slots}
  groups: dict[str, dict[str, str]] = {}
  # Of a weight that is dropped out, awd-lstm-lm has the whole one as well, last here.
  for name in sorted(arrays, key=lambda name: name.endswith("_raw")):
    parted = there.parted(name)
    for slot in slots:
      if parted == slot or parted.endswith(f"/{slot}"):
        prefix = parted.removesuffix(slot).strip("/")
        groups.setdefault(prefix, {})[slot] = name
  layers, taken = {}, set[str]()
  for prefix, names in groups.items():
    own = {slot: arrays[name] for slot, name in names.items()}
    if not re.fullmatch(there.within or ".*", prefix):
      continue
    if any(form.fits(own) for form in forms):
      layers[prefix] = own
      stems = {f"{prefix}/{slot}".strip("/") for slot in own}
      taken |= {name for name in arrays if there.parted(name) in stems}
  return layers, {name: arrays[name] for name in arrays if name not in taken}


def _nothing(there: Framework, arrays: Arrays, groups: Mapping[str, Any]) -> str:
  """Why no cell fits."""
  if groups:
    kinds = {
      prefix: next(n for n, fs in there.cells.items() if any(f.fits(own) for f in fs))
      for prefix, own in groups.items()
    }
    shown = ", ".join(f"{prefix}: {kind}" for prefix, kind in kinds.items())
    return f"the recurrent layers are of different kinds, {shown}: no run has both"
  slots = dict.fromkeys(slot.name for slot in next(iter(there.cells.values()))[0].slots)
  return (
    f"no recurrent layer of {there.name} is among {len(arrays)} arrays such as "
    f"{', '.join(sorted(arrays)[:3])}: their names end in {', '.join(slots)}, say"
  )


def _order(prefix: str) -> list[Any]:
  """Sorts names by their numbers, a backward layer right after its forward one."""
  backward = bool(_BACKWARD.search(prefix))
  bare = re.sub(r"_?(reverse|backward|forward)_?", "", prefix)
  parts = [int(p) if p.isdecimal() else -1 for p in re.split(r"(\d+)", bare)]
  return [re.sub(r"\d+", "", bare), parts, backward]


def _check(stack: Stack) -> None:
  """Refuses layers of which one does not read what the one below hands on."""
  if len({len(layer) for layer in stack.layers}) > 1:
    raise BadInput(
      "some layers read from both sides and some from one: give those of a kind"
    )
  for number in range(1, len(stack.layers)):
    width = stack.directions * stack.hidden[number - 1]
    if (found := stack.reads[number]) != width:
      raise BadInput(
        f"layer {number} reads {found} numbers and the layer below hands on {width}: "
        "these layers do not stand on each other in the order of their names"
      )
