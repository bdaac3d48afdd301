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
from unroll.exporting.elementwise import elementwise
from unroll.exporting.graph import Graph, Value
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
  w, r, b = (
    _blocks(leaf, "iofg", "ifgo") for leaf in (params.w_x, params.w_h, params.b)
  )
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
  found, own_tree = jax.tree.structure(carry), jax.tree.structure(expected)
  if found != own_tree:  # type: ignore[operator]
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


class Rows(NamedTuple):
  """How long the rows of a batch are.

  Attributes:
    lengths: `[B]`, the real steps of each, int64.
    valid: `[T, B]`, true at those.
  """

  lengths: Value
  valid: Value


def native(
  graph: Graph,
  one: Operator,
  own: Any,
  carry: list[Value],
  xs: Value,
  rows: Rows | None,
  reverse: bool,
  told: bool = False,
) -> tuple[list[Value], Value]:
  """Adds the operator.

  It is not given its lengths: OpenVINO 2026.4 ignores them, in silence, where T or B is
  free. What is read behind a row's end is left out here.

  Args:
    graph: the graph.
    one: the operator.
    own: the parameters of its cell.
    carry: its states `[B, H]`, in the order of the cell's carry.
    xs: `[T, B, D]`.
    rows: how long the rows are; None: all are T steps.
    reverse: reads from the last real step to the first.
    told: it gets its lengths, for onnxruntime alone: what holds an LSTM behind a row's
      end is a large input, beside which others have no digits left in 8 bits.

  Returns:
    The states after the last real step, and ys `[T, B, H]`, 0 where no step is real.
  """
  steps, batch, _ = xs.shape
  hidden, dtype = own.w_h.shape[0], xs.dtype
  weights = one.weights(own)
  xs = _turned(graph, xs, rows) if reverse else xs
  if rows and len(carry) > 1 and not told:
    xs, weights = _holding(graph, xs, rows, weights)
  initial = [carry[one.states.index(i)] for i in range(len(carry))]
  starts = [graph.unsqueezed(state, 0) for state in initial]
  length = graph.cast(rows.lengths, np.int32) if rows and told else ""
  given = [xs, *(array[None] for array in weights), length, *starts]
  options = {"hidden_size": hidden, **one.options}
  y, *after = graph.nodes_of(one.kind, given, 1 + len(carry), **options)
  ys = graph.squeezed(Value(y, (steps, 1, batch, hidden), dtype), 1)
  ends = [graph.squeezed(Value(name, (1, batch, hidden), dtype), 0) for name in after]
  if rows:
    ends[0] = _last(graph, ys, rows)
    changed = ends if told else ends[:1]
    ends[: len(changed)] = [_after(graph, rows, *of) for of in zip(changed, initial)]
    ys = _read(graph, ys, rows)
  ys = _turned(graph, ys, rows) if reverse else ys
  return [ends[place] for place in one.states], ys


def _read(graph: Graph, xs: Value, rows: Rows) -> Value:
  """A sequence with zeros where no step is real."""
  given = [graph.unsqueezed(rows.valid, 2), xs, np.zeros((), xs.dtype)]
  return graph.node("Where", given, xs.shape, xs.dtype)


def _last(graph: Graph, ys: Value, rows: Rows) -> Value:
  """The output of the last real step `[B, H]`."""
  _, batch, hidden = ys.shape
  lengths, one = rows.lengths, np.array(1, np.int64)
  at = elementwise(graph, "Sub", elementwise(graph, "Max", lengths, one), one)
  at = graph.unsqueezed(graph.unsqueezed(at, 0), 2)
  at = graph.full(at, (1, batch, hidden))
  found = graph.node("GatherElements", [ys, at], at.shape, ys.dtype, axis=0)
  return graph.squeezed(found, 0)


def _after(graph: Graph, rows: Rows, end: Value, before: Value) -> Value:
  """A state `[B, H]` after the last real step; of a row without one, that before."""
  none = np.array(0, np.int64)
  read = graph.unsqueezed(elementwise(graph, "Less", none, rows.lengths, dtype=bool), 1)
  return graph.node("Where", [read, end, before], end.shape, end.dtype)


def _holding(
  graph: Graph, xs: Value, rows: Rows, weights: Weights
) -> tuple[Value, Weights]:
  """An input more, with which the gates of an LSTM keep c where no step is real.

  Its weights are no larger than the others, so that these can be quantised with it; it
  is 0 at real steps, and elsewhere large enough for any h.
  """
  w, r, b = weights
  hidden = len(r) // 4
  size = max(float(np.abs(w).max()), 1e-3)
  reach = np.abs(r).sum(axis=1).max() + np.abs(b).reshape(2, -1).sum(axis=0).max()
  column = np.zeros((len(w), 1), w.dtype)
  column[:hidden], column[2 * hidden : 3 * hidden] = -size, size  # of i and f
  flag = np.array((30 + reach) / size, xs.dtype)  # the sigmoid of 30 is 1 - 1e-13
  given = [graph.unsqueezed(rows.valid, 2), np.zeros((), xs.dtype), flag]
  held = graph.node("Where", given, (*xs.shape[:2], 1), xs.dtype)
  shape = (*xs.shape[:2], xs.shape[2] + 1)
  both = [_read(graph, xs, rows), held]
  xs = graph.node("Concat", both, shape, xs.dtype, axis=2)
  return xs, (np.concatenate([w, column], axis=1), r, b)


def _turned(graph: Graph, xs: Value, rows: Rows | None) -> Value:
  """A sequence from its last real step to its first; padding stays behind it."""
  if rows is None:
    return graph.flipped(xs)
  options = {"time_axis": 0, "batch_axis": 1}
  return graph.node(
    "ReverseSequence", [xs, rows.lengths], xs.shape, xs.dtype, **options
  )
