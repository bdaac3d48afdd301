"""Rules of primitives that take each element by itself."""

from collections.abc import Callable
from typing import Any

import numpy as np

from unroll.exporting.graph import Graph, Value
from unroll.types import BadInput

# `(graph, equation, operands) -> results`; an operand is a `Value` or an array that is
# known.
Rule = Callable[[Graph, Any, list], list]

# As ONNX has them, of one output in the shape that broadcasting gives.
ELEMENTWISE = {
  **{"abs": "Abs", "ceil": "Ceil", "cos": "Cos", "erf": "Erf", "exp": "Exp"},
  **{"floor": "Floor", "log": "Log", "logistic": "Sigmoid", "neg": "Neg", "not": "Not"},
  **{"sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh"},
  **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"},
  **{"max": "Max", "min": "Min", "pow": "Pow", "lt": "Less", "gt": "Greater"},
  **{"le": "LessOrEqual", "ge": "GreaterOrEqual", "and": "And"},
  **{"or": "Or", "xor": "Xor"},
}
SAME = ("copy", "copy_p", "optimization_barrier", "stop_gradient", "reduce_precision")


def broadcast(*shapes: tuple) -> tuple:
  """The shape of what is elementwise, of shapes as they are stored."""
  rank = max(map(len, shapes))
  padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
  return tuple(next((s for s in sizes if s != 1), 1) for sizes in zip(*padded))


def elementwise(graph: Graph, kind: str, *operands: Any, dtype: Any = None) -> Value:
  """A node that broadcasts its operands."""
  values = [graph.value(operand) for operand in operands]
  shape = broadcast(*(value.shape for value in values))
  return graph.node(kind, values, shape, dtype or values[-1].dtype)


def _plain(kind: str) -> Rule:
  def rule(graph, eqn, operands):
    return [elementwise(graph, kind, *operands, dtype=eqn.outvars[0].aval.dtype)]

  return rule


def _same(graph, eqn, operands):
  return operands


def _number(eqn, value: float) -> np.ndarray:
  return np.array(value, eqn.outvars[0].aval.dtype)


def _integer_pow(graph, eqn, operands):
  (x,), y = operands, eqn.params["y"]
  if y not in (2, 3):
    return [elementwise(graph, "Pow", x, _number(eqn, y))]
  found = elementwise(graph, "Mul", x, x)  # onnxruntime's Pow takes far longer
  return [found if y == 2 else elementwise(graph, "Mul", found, x)]


def _square(graph, eqn, operands):
  return [elementwise(graph, "Mul", *operands, *operands)]


def _rsqrt(graph, eqn, operands):
  return [elementwise(graph, "Reciprocal", elementwise(graph, "Sqrt", *operands))]


def _log1p(graph, eqn, operands):
  return [
    elementwise(graph, "Log", elementwise(graph, "Add", *operands, _number(eqn, 1)))
  ]


def _expm1(graph, eqn, operands):
  """`2 u / (1 - u)` of `u = tanh(x / 2)` is exact near 0, and `eˣ - 1` far above."""
  (x,), one = operands, _number(eqn, 1)
  u = elementwise(graph, "Tanh", elementwise(graph, "Mul", x, _number(eqn, 0.5)))
  above = elementwise(graph, "Less", one, x, dtype=bool)
  # Where the other is taken, this one must be finite.
  down = elementwise(graph, "Where", above, one, elementwise(graph, "Sub", one, u))
  near = elementwise(graph, "Div", elementwise(graph, "Add", u, u), down)
  far = elementwise(graph, "Sub", elementwise(graph, "Exp", x), one)
  return [elementwise(graph, "Where", above, far, near)]


def _eq(graph, eqn, operands):
  """Of truth values by what all runtimes have for them: tract has no Equal."""
  if eqn.invars[0].aval.dtype == bool:
    return [elementwise(graph, "Not", elementwise(graph, "Xor", *operands, dtype=bool))]
  return [elementwise(graph, "Equal", *operands, dtype=bool)]


def _ne(graph, eqn, operands):
  return [elementwise(graph, "Not", *_eq(graph, eqn, operands))]


def _is_finite(graph, eqn, operands):
  (x,) = operands
  zero = elementwise(graph, "Sub", x, x)
  return [elementwise(graph, "Equal", zero, zero, dtype=bool)]


def _rem(graph, eqn, operands):
  """Of powers of two that have fractions without Mod, exactly.

  Where its left operand is broadcast, tract 0.23 takes it for the right one.
  """
  x, y = operands
  integer = np.issubdtype(eqn.outvars[0].aval.dtype, np.integer)
  if integer or isinstance(y, Value) or not np.all(np.frexp(y)[0] == 0.5):
    shape = broadcast(*map(_shape, operands))
    return [graph.node("Mod", operands, shape, eqn.outvars[0].aval.dtype, fmod=1)]
  y = np.asarray(y)
  times = elementwise(graph, "Mul", x, 1 / y)
  whole = elementwise(graph, "Floor", elementwise(graph, "Abs", times))
  whole = elementwise(graph, "Mul", elementwise(graph, "Sign", times), whole)
  return [elementwise(graph, "Sub", x, elementwise(graph, "Mul", whole, y))]


def _shape(operand: Any) -> tuple:
  return operand.shape if isinstance(operand, Value) else np.shape(operand)


def _round(graph, eqn, operands):
  if eqn.params["rounding_method"].name != "TO_NEAREST_EVEN":
    raise BadInput("rounding halves away from zero has no export")
  return [elementwise(graph, "Round", *operands)]


def _select(graph, eqn, operands):
  which, *cases = operands
  if len(cases) != 2:
    raise BadInput(f"a choice among {len(cases)} has no export")
  which = graph.cast(which, bool)
  no, yes = cases
  return [elementwise(graph, "Where", which, yes, no)]


def _clamp(graph, eqn, operands):
  low, x, high = operands
  return [elementwise(graph, "Min", elementwise(graph, "Max", x, low), high)]


def _cast(graph, eqn, operands):
  return [graph.cast(operands[0], eqn.params["new_dtype"])]


RULES: dict[str, Rule] = {
  **{name: _plain(kind) for name, kind in ELEMENTWISE.items()},
  **dict.fromkeys(SAME, _same),
  "clamp": _clamp,
  "convert_element_type": _cast,
  "eq": _eq,
  "expm1": _expm1,
  "integer_pow": _integer_pow,
  "is_finite": _is_finite,
  "log1p": _log1p,
  "ne": _ne,
  "rem": _rem,
  "round": _round,
  "rsqrt": _rsqrt,
  "select_n": _select,
  "square": _square,
}
