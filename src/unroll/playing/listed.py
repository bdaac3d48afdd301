"""A function of arrays as a list of ONNX's operators, without ONNX's files.

Shapes are known, the same node is listed once, and nothing but JSON is needed to write
the list down: an interpreter of some fifty operators runs it anywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unroll.exporting.graph import Graph, Value
from unroll.exporting.recurrence import Scans
from unroll.exporting.translation import traced, translated
from unroll.scan import whole

Named = Mapping[str, Any]
SHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Identity")


class Listed(Graph):
  """A graph whose nodes are dicts of JSON; equal nodes are one."""

  def __init__(self):
    self.rows, self.outer, self.root = None, None, self
    self.nodes: list[dict[str, Any]] = []
    self.sizes: dict[str, str] = {}
    self._constants: dict[Any, tuple[str, np.ndarray]] = {}
    self._count = 0
    self._made: dict[Any, list[str]] = {}
    self._origin: dict[str, Value] = {}  # of what is the same numbers in another shape

  def node(
    self, kind: str, inputs: Sequence[Any], shape: Sequence[Any], dtype: Any, **options
  ) -> Value:
    """Adds a node of one output, if it is one: what is the same numbers is no other."""
    if kind in SHAPING:
      return self._shaped(self.value(inputs[0]), tuple(shape))
    if kind == "Add":
      for one, other in (inputs, inputs[::-1]):
        other = self.value(other)
        if self._is_zero(one) and other.shape == tuple(shape):
          return other
    return super().node(kind, inputs, shape, dtype, **options)

  def _shaped(self, value: Value, shape: tuple[int, ...]) -> Value:
    origin = self._origin.get(value.name, value)
    if origin.shape == shape:
      return origin
    found = super().node("Reshape", [origin], shape, value.dtype, to=list(shape))
    self._origin[found.name] = origin
    return found

  def _is_zero(self, one: Any) -> bool:
    if not isinstance(one, Value):
      return not np.any(one)
    return any(name == one.name and not a.any() for name, a in self.constants())

  def nodes_of(
    self, kind: str, inputs: Sequence[Any], count: int, **options
  ) -> list[str]:
    """Adds a node, or finds the one that is there; the names of its outputs."""
    given = [one if isinstance(one, str) else self.value(one).name for one in inputs]
    key = (kind, *given, repr(sorted(options.items())))
    if key not in self._made:
      outputs = [self.new(kind) for _ in range(count)]
      node = {"op": kind, "in": given, "out": outputs}
      self.nodes.append({**node, **({"with": options} if options else {})})
      self._made[key] = outputs
    return self._made[key]

  def value(self, known: Any) -> Value:
    """A value as it is; an array as a constant, once however often it is read."""
    if isinstance(known, Value):
      return known
    array = np.ascontiguousarray(known).reshape(np.shape(known))
    key = (array.dtype.str, array.shape, array.tobytes())
    if key not in self._constants:
      self._constants[key] = (self.new("constant"), array)
    return Value(self._constants[key][0], array.shape, array.dtype)

  def constants(self) -> list[tuple[str, np.ndarray]]:
    """The names and arrays of all constants."""
    return list(self._constants.values())

  def cast(self, value: Any, dtype: Any) -> Value:
    """A value in another type, which the node names as NumPy does."""
    value, dtype = self.value(value), np.dtype(dtype)
    if value.dtype == dtype:
      return value
    return self.node("Cast", [value], value.shape, dtype, to=dtype.name)


class Listing:
  """What a function is as nodes.

  Attributes:
    inputs: name -> shape and type, of arrays.
    outputs: name -> the name of the value that it is.
    nodes: `{"op", "in", "out", "with"}` in the order to run them.
    constants: name -> array, of those that are read.
  """

  def __init__(self, function: Callable[..., dict[str, Any]], shapes: Named):
    """Lists a function.

    Args:
      function: of arrays by name, to arrays by name.
      shapes: of its arguments.

    Raises:
      BadInput: an operation of it has no export.
    """
    names, graph, told = sorted(shapes), Listed(), list[str]()

    def run(*given):
      found = function(**dict(zip(names, given)))
      told[:] = sorted(found)
      return [found[name] for name in told]

    self.inputs = {name: (shapes[name].shape, shapes[name].dtype) for name in names}
    operands = [Value(n, s, np.dtype(dtype)) for n, (s, dtype) in self.inputs.items()]
    with whole.kept():
      jaxpr, _ = traced(run, *(shapes[name] for name in names))
    results = translated(graph, jaxpr, list(operands), Scans({}))
    full = [graph.full(one, a.shape) for one, a in zip(results, jaxpr.out_avals)]
    self.outputs = {name: value.name for name, value in zip(told, full)}
    wanted, nodes = set(self.outputs.values()), []
    for node in reversed(graph.nodes):
      if wanted & set(node["out"]):
        nodes.append(node)
        wanted |= set(node["in"])
    self.nodes = nodes[::-1]
    self.constants = {name: a for name, a in graph.constants() if name in wanted}
