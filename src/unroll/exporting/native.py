"""Which scans are operators of ONNX: `LSTM`, `GRU` and `RNN` in their plain form.

A cell is one of them if its program is, number by number, that of `cells.lstm`, `gru`
or `vanilla`. What runtimes compute otherwise than ONNX says, in silence, is not used:
no peepholes, coupled gates or other activations, no layout=1, no direction="reverse".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from unroll import cells
from unroll.exporting.graph import Graph, Value
from unroll.exporting.primitives import elementwise
from unroll.exporting.translation import traced
from unroll.types import Cell, Params

Weights = tuple[np.ndarray, np.ndarray, np.ndarray]  # W, R, B, as the operator has them


class Operator(NamedTuple):
  """An operator, and the cell that it is.

  Attributes:
    kind: its name.
    make: of D and H, the cell.
    params: the type of the cell's parameters.
    states: the operator's states in the order of the cell's carry: 0 is h, 1 is c.
    weights: its W, R and B.
    options: its attributes.
  """

  kind: str
  make: Callable[[int, int], Cell]
  params: type
  states: tuple[int, ...]
  weights: Callable[[Any], Weights]
  options: dict[str, Any]


def _blocks(array: Any, order: str, own: str) -> np.ndarray:
  """Gates `[..., kH]` in the order of the operator, as rows `[kH, ...]`."""
  parts = np.split(np.asarray(array), len(own), axis=-1)
  return np.concatenate([parts[own.index(gate)] for gate in order], axis=-1).T


def _lstm(params: Any) -> Weights:
  w, r, b = (_blocks(leaf, "iofg", "ifgo") for leaf in (params.w_x, params.w_h, params.b))
  return w, r, np.concatenate([b, np.zeros_like(b)])


def _gru(params: Any) -> Weights:
  w, r, b = (_blocks(leaf, "zrn", "rzn") for leaf in (params.w_x, params.w_h, params.b))
  inner = np.concatenate([np.zeros_like(b[: -len(b) // 3]), np.asarray(params.b_n)])
  return w, r, np.concatenate([b, inner])


def _rnn(params: Any) -> Weights:
  w, r, b = (_blocks(leaf, "h", "h") for leaf in (params.w_x, params.w_h, params.b))
  return w, r, np.concatenate([b, np.zeros_like(b)])


# The reset gate after the product is what every runtime means by GRU.
AFTER = {"linear_before_reset": 1}
OPERATORS = (
  Operator("LSTM", cells.lstm, cells.LSTMParams, (1, 0), _lstm, {}),
  Operator("GRU", cells.gru, cells.GRUParams, (0,), _gru, AFTER),
  Operator("RNN", cells.vanilla, cells.VanillaParams, (0,), _rnn, {}),
)


def operator(cell: Cell, params: Params, carry: Any) -> tuple[Operator, Any] | None:
  """The operator that a cell is, and its parameters; None of other cells.

  Args:
    cell: the cell.
    params: its parameters, prepared.
    carry: shapes of a carry.
  """
  for one in OPERATORS:
    own = [node for node in _nodes(params, one.params) if isinstance(node, one.params)]
    if len(own) == 1 and _same(cell, params, one, own[0], carry):
      return one, own[0]
  return None


def _nodes(tree: Any, kind: type) -> list:
  return jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kind))


def _same(cell: Cell, params: Params, one: Operator, own: Any, carry: Any) -> bool:
  """Whether a cell with its numbers has the program of another one."""
  plain = one.make(own.w_x.shape[0], own.w_h.shape[0])
  x = jax.ShapeDtypeStruct((1, 2, own.w_x.shape[0]), own.w_x.dtype)
  carry = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape[1:]), leaf.dtype), carry
  )
  expected = jax.eval_shape(lambda: plain.carry(own, 2))
  if jax.tree.structure(carry) != jax.tree.structure(expected):
    return False

  def program(cell: Cell, params: Params):
    def run(carry, x):
      return cell.step(params, carry, cell.project(params, x)[0])

    return traced(run, carry, x)[0]

  try:
    mine, its = program(cell, params), program(plain, own)
  except (TypeError, ValueError):  # of another width
    return False
  if str(mine.jaxpr) != str(its.jaxpr) or len(mine.consts) != len(its.consts):
    return False
  return all(np.array_equal(*both) for both in zip(mine.consts, its.consts))


def native(
  graph: Graph,
  one: Operator,
  own: Any,
  carry: list[Value],
  xs: Value,
  lengths: Value | None,
  reverse: bool,
) -> tuple[list[Value], Value]:
  """Adds the operator.

  Args:
    graph: the graph.
    one: the operator.
    own: the parameters of its cell.
    carry: its states `[B, H]`, in the order of the cell's carry.
    xs: `[T, B, D]`.
    lengths: `[B]`, how many steps of each sequence are real; None: all.
    reverse: reads from the last real step to the first.

  Returns:
    The states after the last real step, and ys `[T, B, H]`, 0 where no step is real.
  """
  steps, batch, _ = xs.shape
  hidden = own.w_h.shape[0]
  w, r, b = (np.asarray(array)[None] for array in one.weights(own))
  initial = [carry[one.states.index(i)] for i in range(len(carry))]
  starts = [graph.unsqueezed(state, 0) for state in initial]
  xs = _turned(graph, xs, lengths) if reverse else xs
  lens: Any = graph.cast(lengths, np.int32) if lengths else ""
  given = [xs, w, r, b, lens, *starts]
  options = {"hidden_size": hidden, **one.options}
  y, *after = graph.nodes_of(one.kind, given, 1 + len(carry), **options)
  ys = graph.squeezed(Value(y, (steps, 1, batch, hidden), xs.dtype), 1)
  ys = _turned(graph, ys, lengths) if reverse else ys
  ends = [
    graph.squeezed(Value(name, (1, batch, hidden), xs.dtype), 0) for name in after
  ]
  if lengths:
    # Of a row without a step, runtimes give zeros in place of the state it had.
    zero = np.zeros((), lengths.dtype)
    read = graph.unsqueezed(elementwise(graph, "Greater", lengths, zero, dtype=bool), 1)
    ends = [
      graph.node("Where", [read, end, start], end.shape, end.dtype)
      for end, start in zip(ends, initial)
    ]
  return [ends[place] for place in one.states], ys


def _turned(graph: Graph, xs: Value, lengths: Value | None) -> Value:
  """A sequence from its last real step to its first; padding stays behind it."""
  if lengths is None:
    return graph.flipped(xs)
  given = [xs, graph.cast(lengths, np.int64)]
  options = {"time_axis": 0, "batch_axis": 1}
  return graph.node("ReverseSequence", given, xs.shape, xs.dtype, **options)
