"""An ONNX graph while it is written: values, constants, dimensions of a run."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from unroll.types import BadInput

OPSET, IR = 17, 8  # of 2022: read by every runtime of the last years


@dataclass(frozen=True)
class Value:
  """A tensor of the graph: a leaf of pytrees, as an array is.

  Attributes:
    name: in the graph.
    shape: as it is stored: an axis may be 1 where the program has more, as ONNX
      broadcasts what is elementwise.
    dtype: a NumPy type.
  """

  name: str
  shape: tuple[Any, ...]
  dtype: Any


def library() -> ModuleType:
  """The package onnx.

  Raises:
    BadInput: it is not installed.
  """
  try:
    import onnx
    import onnx.helper
  except ImportError:
    raise BadInput(
      "ONNX files need the package onnx: pip install -e '.[onnx]' brings it"
    ) from None
  return onnx


class Graph:
  """A graph, or the body of a loop within one, whose names are of all its levels.

  Args:
    outer: the graph that a body stands in; it reads the values of that.

  Attributes:
    rows: of a body, a value `[B, …]` of its own, which B is measured by: OpenVINO lets
      a body read constants of the outer graph, and nothing else.
  """

  def __init__(self, outer: "Graph | None" = None):
    self.onnx = library()
    self.rows: Value | None = None
    self.outer = outer
    self.root: Graph = outer.root if outer else self
    self.nodes: list[Any] = []
    self.sizes: dict[str, str] = {}  # dimension -> the name of its value, [1]
    self._constants: dict[Any, Any] = {}
    self._count = 0

  def node(
    self, kind: str, inputs: Sequence[Any], shape: Sequence[Any], dtype: Any, **options
  ) -> Value:
    """Adds a node of one output."""
    (name,) = self.nodes_of(kind, inputs, 1, **options)
    return Value(name, tuple(shape), np.dtype(dtype))

  def nodes_of(
    self, kind: str, inputs: Sequence[Any], count: int, **options
  ) -> list[str]:
    """Adds a node; the names of its outputs."""
    given = [one if isinstance(one, str) else self.value(one).name for one in inputs]
    outputs = [self.new(kind) for _ in range(count)]
    make = self.onnx.helper.make_node
    self.nodes.append(make(kind, given, outputs, name=outputs[0], **options))
    return outputs

  def new(self, kind: str) -> str:
    """A name that nothing has."""
    self.root._count += 1
    return f"{kind}_{self.root._count}"

  def value(self, known: Any) -> Value:
    """A value as it is; an array as a constant, once however often it is read."""
    if isinstance(known, Value):
      return known
    array = np.ascontiguousarray(known).reshape(np.shape(known))
    key = (array.dtype.str, array.shape, array.tobytes())
    constants = self.root._constants
    if key not in constants:
      name = self.new("constant")
      constants[key] = self.onnx.numpy_helper.from_array(array, name)
    return Value(constants[key].name, array.shape, array.dtype)

  def constants(self) -> list[Any]:
    """The tensors of all constants."""
    return list(self.root._constants.values())

  def dims(self, shape: Sequence[Any], infer: bool = False) -> Any:
    """A shape as a vector of int64: a constant, or what it is at run time.

    Args:
      shape: numbers and symbolic dimensions.
      infer: one that is unknown is -1, which Reshape works out itself.
    """
    free = [size for size in shape if not isinstance(size, int)]
    if infer and len(free) == 1:
      shape, free = [s if isinstance(s, int) else -1 for s in shape], []
    if not free:
      return np.array(shape, np.int64)
    parts = [self.size(size) for size in shape]
    return self._home().node("Concat", parts, (len(parts),), np.int64, axis=0)

  def size(self, size: Any) -> Any:
    """A dimension at run time, `[1]`: symbolic ones are sums of products of T and B."""
    if isinstance(size, int):
      return np.array([size], np.int64)
    text, home = str(size), self._home()
    if home.rows and text not in home.sizes:
      home.measure(home.rows, home.rows.shape[:1])
    if text not in home.sizes:
      home.sizes[text] = home._computed(ast.parse(text, mode="eval").body).name
    return Value(home.sizes[text], (1,), np.dtype(np.int64))

  def _home(self) -> "Graph":
    """Where dimensions are computed."""
    return self if self.rows else self.root

  def measure(self, value: Value, dims: Sequence[Any]) -> None:
    """Has the first dimensions of a value be known at run time."""
    new = {axis: size for axis, size in enumerate(dims) if str(size) not in self.sizes}
    new = {axis: size for axis, size in new.items() if not isinstance(size, int)}
    if new:
      shape = self.node("Shape", [value], (len(value.shape),), np.int64)
    for axis, size in new.items():
      given = [shape, np.array([axis], np.int64)]
      self.sizes[str(size)] = self.node("Gather", given, (1,), np.int64, axis=0).name

  def _computed(self, term: ast.AST) -> Value:
    match term:
      case ast.Name(id=name):
        if name not in self.sizes:
          raise BadInput(f"a loop of the model reads {name}, which it is not told")
        return Value(self.sizes[name], (1,), np.dtype(np.int64))
      case ast.Constant(value=int(number)):
        return self.value(np.array([number], np.int64))
      case ast.UnaryOp(op=ast.USub(), operand=operand):
        return self.node("Neg", [self._computed(operand)], (1,), np.int64)
      case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
        both = [self._computed(left), self._computed(right)]
        return self.node(ARITHMETIC[type(op)], both, (1,), np.int64)
      case ast.Call(func=ast.Name(id="max" | "min" as name), args=args):
        both = [self._computed(arg) for arg in args]
        return self.node(name.capitalize(), both, (1,), np.int64)
    raise BadInput(f"the model has a dimension {ast.unparse(term)}: it has no export")

  def full(self, known: Any, shape: Sequence[Any]) -> Value:
    """A value with every axis as long as the program has it."""
    value = self.value(known)
    if value.shape == tuple(shape):
      return value
    wide = [value, self.dims(shape)]
    return self.node("Expand", wide, shape, value.dtype)

  def reshaped(self, value: Value, shape: Sequence[Any]) -> Value:
    """A full value in another shape."""
    wide = [value, self.dims(shape, infer=True)]
    return self.node("Reshape", wide, shape, value.dtype)

  def squeezed(self, value: Value, axis: int) -> Value:
    """A value without an axis of length 1."""
    shape = [size for i, size in enumerate(value.shape) if i != axis]
    given = [value, np.array([axis], np.int64)]
    return self.node("Squeeze", given, shape, value.dtype)

  def unsqueezed(self, value: Value, axis: int) -> Value:
    """A value with a new axis of length 1."""
    shape = [*value.shape[:axis], 1, *value.shape[axis:]]
    given = [value, np.array([axis], np.int64)]
    return self.node("Unsqueeze", given, shape, value.dtype)

  def cast(self, value: Any, dtype: Any) -> Value:
    """A value in another type."""
    value, dtype = self.value(value), np.dtype(dtype)
    if value.dtype == dtype:
      return value
    to = self.onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return self.node("Cast", [value], value.shape, dtype, to=to)

  def flipped(self, value: Value, axis: int = 0) -> Value:
    """A value from its last step to its first."""
    ends = (np.array([n], np.int64) for n in (-1, np.iinfo(np.int64).min, axis, -1))
    return self.node("Slice", [value, *ends], value.shape, value.dtype)

  def described(self, value: Value, name: str | None = None) -> Any:
    """What a graph says of an input or output; free dimensions by their names.

    In a body they have none: tract 0.23 takes T and B, once given, for others there.
    """
    kind = self.onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    free: Any = {} if self.outer else SHOWN
    shape = [n if isinstance(n, int) else free.get(str(n)) for n in value.shape]
    return self.onnx.helper.make_tensor_value_info(name or value.name, kind, shape)


ARITHMETIC = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
SHOWN = {"t": "time", "b": "batch", "s": "source", "p": "past"}
