"""How arrays hold a cell: which gate stands where, which way round, with what sign.

A `Form` says that of the cell of a framework, or of ours. What stands in an array is
cut into blocks, a gate each, and joined again in another form: no number changes but
for a bias that a framework adds to by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.types import BadInput

Arrays = Mapping[str, NDArray[Any]]
# Whose block it is, and the gate: "x" and "h" of the matrices of input and state, "b"
# and "b_h" of biases beside their products, "b_r" of one within the product that a
# reset gate multiplies, "y" of a projection.
Key = tuple[str, str]
Blocks = Mapping[Key, NDArray[Any]]


def row(role: str, gates: str) -> tuple[Key, ...]:
  """The blocks of some gates side by side."""
  return tuple((role, gate) for gate in gates)


class Slot(NamedTuple):
  """An array of a cell.

  Attributes:
    name: of the array.
    rows: its blocks, `[in, out]`, from left to right and from top to bottom.
    turned: whether it is held as `[out, in]`.
  """

  name: str
  rows: tuple[tuple[Key, ...], ...]
  turned: bool = False

  @property
  def bias(self) -> bool:
    """Whether it holds biases, which a layer may do without."""
    return self.rows[0][0][0].startswith("b")

  def cut(self, array: NDArray[Any]) -> dict[Key, NDArray[Any]]:
    """The blocks of the array.

    Raises:
      ValueError: it does not divide into them.
    """
    axes = 1 if self.bias and len(self.rows) == 1 else 2
    array = array.T if self.turned else array
    width, rest = divmod(array.shape[-1] if array.ndim else 0, len(self.rows[0]))
    if array.ndim != axes or rest or not width:
      raise ValueError(f"{self.name} of shape {array.shape} is of another cell")
    found = {}
    for keys, part in zip(self.rows, self._rows(array, width), strict=True):
      for place, key in enumerate(keys):
        found[key] = part[..., place * width : (place + 1) * width]
    return found

  def _rows(self, array: NDArray[Any], width: int) -> Sequence[NDArray[Any]]:
    if len(self.rows) == 1:
      return [array]
    if self.bias:
      return list(array)
    inputs = len(array) - width  # above the matrix of the state: [D + H, k H]
    if inputs < 1:
      raise ValueError(f"{self.name} of shape {array.shape} is of another cell")
    return [array[:inputs], array[inputs:]]

  def joined(self, blocks: Blocks) -> NDArray[Any]:
    """The array of blocks, in one piece of memory."""
    rows = [np.concatenate([blocks[key] for key in keys], -1) for keys in self.rows]
    several = np.stack(rows) if self.bias else np.concatenate(rows)
    array = rows[0] if len(rows) == 1 else several
    return np.ascontiguousarray(array.T if self.turned else array)


class Form(NamedTuple):
  """How the arrays of a cell hold it.

  Attributes:
    layer: what the framework calls it.
    slots: its arrays. Those of biases may be missing, and then are zero.
    negated: gates that are 1 there where they are 0 here.
    shifted: what the framework adds to the bias of a gate by itself.
  """

  layer: str
  slots: tuple[Slot, ...]
  negated: str = ""
  shifted: Mapping[str, float] = {}

  @property
  def keys(self) -> list[Key]:
    """All its blocks."""
    return [key for slot in self.slots for keys in slot.rows for key in keys]

  def blocks(self, arrays: Arrays) -> dict[Key, NDArray[Any]]:
    """The blocks of arrays, as our gates have them.

    Raises:
      ValueError: a shape, or a name that is missing, tells of another cell.
    """
    found: dict[Key, NDArray[Any]] = {}
    for slot in self.slots:
      if slot.name in arrays:
        found |= slot.cut(arrays[slot.name])
      elif not slot.bias or self.shifted:
        raise ValueError(f"{slot.name} is missing")
    _check(found)
    return self._turned(found, 1)

  def fits(self, arrays: Arrays) -> bool:
    """Whether the arrays can be this cell, by their names and shapes."""
    try:
      return arrays.keys() <= {s.name for s in self.slots} and bool(self.blocks(arrays))
    except ValueError:
      return False

  def arrays(self, blocks: Blocks) -> dict[str, NDArray[Any]]:
    """The arrays that hold the blocks of our gates.

    Raises:
      BadInput: there is no place for one of their biases.
    """
    settled = self._turned(self._settled(blocks), -1)
    return {slot.name: slot.joined(settled) for slot in self.slots}

  def _turned(self, blocks: Blocks, sign: int) -> dict[Key, NDArray[Any]]:
    turned = {
      (role, gate): -block if gate in self.negated else block
      for (role, gate), block in blocks.items()
    }
    for gate, amount in self.shifted.items():
      bias = turned["b", gate]
      turned["b", gate] = bias + bias.dtype.type(sign * amount)
    return turned

  def _settled(self, blocks: Blocks) -> Blocks:
    """The blocks, each bias where this form has a place for it."""
    keys, settled = self.keys, dict(blocks)
    for role, gate in keys:
      like = blocks["h", gate] if role.startswith("b") else None
      if like is not None:
        settled[role, gate] = np.zeros(like.shape[-1:], like.dtype)
    for gate in dict.fromkeys(gate for role, gate in keys if role == "h"):
      given = [blocks[key] for key in (("b", gate), ("b_h", gate)) if key in blocks]
      place = ("b", gate) if ("b", gate) in keys else ("b_h", gate)
      if given:
        settled[place] = sum(given[1:], start=given[0])
    for (role, gate), block in blocks.items():
      if role == "b_r" and (role, gate) in keys:
        settled[role, gate] = block
      elif role == "b_r" and np.any(block):
        raise BadInput(
          f"{self.layer} has no bias within the product that the reset gate "
          "multiplies, and here there is one that is not zero"
        )
    return settled


def _check(blocks: Blocks) -> None:
  """Refuses blocks of which the shapes are not those of one cell."""

  def sizes(axis: int, *roles: str) -> set[int]:
    return {block.shape[axis] for (role, _), block in blocks.items() if role in roles}

  widths, states = sizes(-1, "x", "h", "b", "b_h", "b_r"), sizes(-2, "h")
  memory = sizes(-2, "y") or states
  if len(sizes(-2, "x")) > 1 or len(states) > 1 or widths != memory:
    raise ValueError("the arrays are of different sizes")
  if "y" in {role for role, _ in blocks} and sizes(-1, "y") != states:
    raise ValueError("the projection is not as wide as the state")


def form(layer: str, *slots: Slot, negated: str = "", **shifted: float) -> Form:
  """A form; what is shifted is given gate by gate."""
  return Form(layer, slots, negated, shifted)


def biases(gates: str, inner: str = "") -> tuple[Key, ...]:
  """Biases beside the recurrent product, but for those that the reset gate meets."""
  return tuple(("b_r" if gate in inner else "b_h", gate) for gate in gates)


def side_by_side(gates: str, x: str, h: str, b: str) -> tuple[Slot, ...]:
  """Gates side by side in two matrices, and one bias."""
  rows = (row(role, gates) for role in "xhb")
  return tuple(Slot(name, (keys,)) for name, keys in zip((x, h, b), rows))


def one_below_the_other(
  layer: str, gates: str, *more: Slot, inner: str = "", second: bool = True
) -> Form:
  """Gates below each other, as PyTorch and Equinox have them.

  Args:
    layer: what it is called.
    gates: from top to bottom.
    *more: further arrays.
    inner: gates whose second bias the reset gate multiplies.
    second: whether there is a bias beside either product.
  """
  slots = [
    Slot("weight_ih", (row("x", gates),), turned=True),
    Slot("weight_hh", (row("h", gates),), turned=True),
    Slot("bias_ih" if second else "bias", (row("b", gates),)),
  ]
  if second:
    slots.append(Slot("bias_hh", (biases(gates, inner),)))
  return form(layer, *slots, *more)
