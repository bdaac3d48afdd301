"""What is known of a framework: its forms of our cells, and how it names arrays."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from unroll.convert.forms import Form

# Cells that differ in their activation or start alone: their arrays are the same.
VANILLA = ("rnn", "relu_rnn", "linear_rnn", "irnn")


class Place(NamedTuple):
  """Where a layer stands.

  Attributes:
    layer: its number, from 0.
    backward: whether it is the half of a bidirectional layer that reads from the right.
    directions: of the layer, 1 or 2.
    alike: whether all layers are as wide.
  """

  layer: int
  backward: bool = False
  directions: int = 1
  alike: bool = True


class Outer(NamedTuple):
  """The names of what stands around the recurrent layers of a language model.

  Attributes:
    table: of the embedding, `[V, E]`.
    kernel: of the read-out, `[H, V]`.
    bias: of the read-out, `[V]`.
    turned: whether the read-out is held as `[V, H]`.
  """

  table: str
  kernel: str
  bias: str
  turned: bool = False


class Framework(NamedTuple):
  """How a framework names and holds what it has of our cells.

  Attributes:
    name: of the framework.
    cells: its forms of each.
    called: (name of the cell, place) -> the names of a layer's arrays, with "{}" for
      that within the layer.
    outer: names in a language model, as they are written.
    lacks: why it has no such cell.
    parted: a name with slashes between its parts, that within the layer last.
    within: what the name of a recurrent layer must match.
    narrows: whether a projection is narrower than the memory, by its own check.
  """

  name: str
  cells: Mapping[str, tuple[Form, ...]]
  called: Callable[[str, Place], str]
  outer: Outer
  lacks: Mapping[str, str] = {}
  parted: Callable[[str], str] = str
  within: str = ""
  narrows: bool = False


def parted(name: str) -> str:
  """A name of nested dicts, lists and attributes with slashes between its parts."""
  return re.sub(r"[\[\]'./]+", "/", name).strip("/")


def direction(place: Place) -> str:
  """The side that a half of a bidirectional layer reads from, as names have it."""
  return "backward" if place.backward else "forward"
