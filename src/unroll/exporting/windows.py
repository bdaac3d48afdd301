"""Rules of primitives that no cell over vectors has: convolutions, sums into places."""

import numpy as np

from unroll.exporting.arrays import full_operands
from unroll.exporting.elementwise import Rule
from unroll.exporting.graph import Graph, Value
from unroll.types import BadInput


def _transposed(graph: Graph, value: Value, order: list[int]) -> Value:
  if order == sorted(order):
    return value
  shape = [value.shape[axis] for axis in order]
  return graph.node("Transpose", [value], shape, value.dtype, perm=order)


def _back(order: list[int]) -> list[int]:
  return np.argsort(order).tolist()


def _convolution(graph, eqn, operands):
  """Channels go before the size, as ONNX has them, and back."""
  (x, w), out, own = (
    full_operands(graph, eqn, operands),
    eqn.outvars[0].aval,
    eqn.params,
  )
  images, kernel, results = (list(order) for order in own["dimension_numbers"])
  if set(own["lhs_dilation"]) != {1} or own["batch_group_count"] != 1:
    raise BadInput("a convolution with gaps in its input has no export")
  pads = [low for low, _ in own["padding"]] + [high for _, high in own["padding"]]
  given = [_transposed(graph, x, images), _transposed(graph, w, kernel)]
  found = graph.node(
    "Conv",
    given,
    [out.shape[axis] for axis in results],
    out.dtype,
    pads=pads,
    strides=list(own["window_strides"]),
    dilations=list(own["rhs_dilation"]),
    group=own["feature_group_count"],
  )
  return [_transposed(graph, found, _back(results))]


def _scatter_add(graph, eqn, operands):
  """Places go before what is added to each, which is as wide as the array."""
  value, ids, added = full_operands(graph, eqn, operands)
  numbers, rank = eqn.params["dimension_numbers"], len(value.shape)
  places, window = numbers.scatter_dims_to_operand_dims, numbers.update_window_dims
  rest = [axis for axis in range(rank) if axis not in places]
  whole = [value.shape[axis] for axis in rest] == [added.shape[i] for i in window]
  if numbers.operand_batching_dims or not whole or len(rest) != len(window):
    raise BadInput(f"a sum into places of this form has no export: {numbers}")
  order = [*places, *rest]
  first = [axis for axis in range(len(added.shape)) if axis not in window]
  given = [
    _transposed(graph, value, order),
    graph.cast(ids, np.int64),
    _transposed(graph, added, [*first, *window]),
  ]
  shape = [value.shape[axis] for axis in order]
  found = graph.node("ScatterND", given, shape, value.dtype, reduction="add")
  return [_transposed(graph, found, _back(order))]


RULES: dict[str, Rule] = {
  "conv_general_dilated": _convolution,
  "scatter-add": _scatter_add,
}
