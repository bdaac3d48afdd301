"""Rules of primitives that move elements, or join many: shapes, products, sums."""

import string

import numpy as np

from unroll.exporting.elementwise import Rule
from unroll.exporting.graph import Value
from unroll.types import BadInput

REDUCTIONS = {
  **{"reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd"}
}


def _broadcast_in_dim(graph, eqn, operands):
  """Axes of length 1 that ONNX broadcasts: nothing is copied."""
  value, places = operands[0], eqn.params["broadcast_dimensions"]
  shape = [1] * len(eqn.params["shape"])
  stored = np.shape(value) if not isinstance(value, Value) else value.shape
  for place, size in zip(places, stored):
    shape[place] = size
  if tuple(shape) == tuple(stored):
    return [value]
  if not isinstance(value, Value):
    return [np.reshape(value, shape)]
  new = [axis for axis in range(len(shape)) if axis not in places]
  given = [value, np.array(new, np.int64)]
  return [graph.node("Unsqueeze", given, shape, value.dtype)]


def full_operands(graph, eqn, operands) -> list[Value]:
  """What an equation reads, with every axis as long as the program has it."""
  return [
    graph.full(operand, atom.aval.shape) for atom, operand in zip(eqn.invars, operands)
  ]


def _reshape(graph, eqn, operands):
  (value,) = full_operands(graph, eqn, operands[:1])
  return [graph.reshaped(value, eqn.params["new_sizes"])]


def _squeeze(graph, eqn, operands):
  axes = eqn.params["dimensions"]
  value = graph.value(operands[0])
  shape = [size for axis, size in enumerate(value.shape) if axis not in axes]
  given = [value, np.array(axes, np.int64)]
  return [graph.node("Squeeze", given, shape, value.dtype)]


def _transpose(graph, eqn, operands):
  value, order = graph.value(operands[0]), eqn.params["permutation"]
  shape = [value.shape[axis] for axis in order]
  return [graph.node("Transpose", [value], shape, value.dtype, perm=list(order))]


def _concatenate(graph, eqn, operands):
  values, out = full_operands(graph, eqn, operands), eqn.outvars[0].aval
  axis = eqn.params["dimension"]
  return [graph.node("Concat", values, out.shape, out.dtype, axis=axis)]


def _slice(graph, eqn, operands):
  (value,), out = full_operands(graph, eqn, operands), eqn.outvars[0].aval
  starts, ends = eqn.params["start_indices"], eqn.params["limit_indices"]
  steps = eqn.params["strides"] or (1,) * len(starts)
  whole = zip(starts, ends, steps, value.shape)
  axes = [
    i for i, (a, z, step, size) in enumerate(whole) if (a, z, step) != (0, size, 1)
  ]
  if not axes:
    return [value]
  bounds = [graph.dims([part[i] for i in axes]) for part in (starts, ends)]
  rest = [np.array(axes, np.int64), np.array([steps[i] for i in axes], np.int64)]
  return [graph.node("Slice", [value, *bounds, *rest], out.shape, value.dtype)]


def _split(graph, eqn, operands):
  (value,), axis = full_operands(graph, eqn, operands), eqn.params["axis"]
  given = [value, np.array(eqn.params["sizes"], np.int64)]
  found = graph.nodes_of("Split", given, len(eqn.outvars), axis=axis)
  return [
    Value(name, var.aval.shape, value.dtype) for name, var in zip(found, eqn.outvars)
  ]


def _reverse(graph, eqn, operands):
  (value,) = full_operands(graph, eqn, operands)
  for axis in eqn.params["dimensions"]:
    value = graph.flipped(value, axis)
  return [value]


def _pad(graph, eqn, operands):
  value, out = graph.full(operands[0], eqn.invars[0].aval.shape), eqn.outvars[0].aval
  config = eqn.params["padding_config"]
  if any(inside or low < 0 or high < 0 for low, high, inside in config):
    raise BadInput("padding between elements has no export")
  pads = graph.dims([low for low, _, _ in config] + [high for _, high, _ in config])
  given = [value, pads, operands[1]]
  return [graph.node("Pad", given, out.shape, out.dtype)]


def _iota(graph, eqn, operands):
  shape, axis = eqn.params["shape"], eqn.params["dimension"]
  length, one = graph.size(shape[axis]), np.array([1], np.int64)
  end = graph.squeezed(graph.value(length), 0)
  given = [np.array(0, np.int64), end, np.array(1, np.int64)]
  steps = graph.node("Range", given, (shape[axis],), one.dtype)
  wide = [shape[axis] if i == axis else 1 for i in range(len(shape))]
  return [graph.reshaped(graph.cast(steps, eqn.params["dtype"]), wide)]


def _dim_as_value(graph, eqn, operands):
  size = graph.value(graph.size(eqn.params["dim"]))
  return [graph.cast(graph.squeezed(size, 0), eqn.outvars[0].aval.dtype)]


def _dot_general(graph, eqn, operands):
  (left, right), out = full_operands(graph, eqn, operands), eqn.outvars[0].aval
  (own, other), (batch, batches) = eqn.params["dimension_numbers"]
  plain = not batch and own == (len(left.shape) - 1,) and other == (0,)
  if plain and len(right.shape) == 2:
    return [graph.node("MatMul", [left, right], out.shape, out.dtype)]
  letters = iter(string.ascii_lowercase)
  first = [next(letters) for _ in left.shape]
  second = [next(letters) for _ in right.shape]
  for mine, its in zip((*batch, *own), (*batches, *other)):
    second[its] = first[mine]
  kept = [a for i, a in enumerate(first) if i not in (*batch, *own)]
  last = [a for i, a in enumerate(second) if i not in (*batches, *other)]
  result = "".join([*(first[i] for i in batch), *kept, *last])
  equation = f"{''.join(first)},{''.join(second)}->{result}"
  return [graph.node("Einsum", [left, right], out.shape, out.dtype, equation=equation)]


def _reduce_sum(graph, eqn, operands):
  (value,), out = full_operands(graph, eqn, operands), eqn.outvars[0].aval
  given = [value, np.array(eqn.params["axes"], np.int64)]
  return [graph.node("ReduceSum", given, out.shape, out.dtype, keepdims=0)]


def _reduction(kind: str) -> Rule:
  def rule(graph, eqn, operands):
    (value,), out = full_operands(graph, eqn, operands), eqn.outvars[0].aval
    options = {"axes": list(eqn.params["axes"]), "keepdims": 0}
    return [graph.node(kind, [value], out.shape, out.dtype, **options)]

  return rule


def _any_or_all(kind: str) -> Rule:
  def rule(graph, eqn, operands):
    (value,), out = full_operands(graph, eqn, operands), eqn.outvars[0].aval
    options = {"axes": list(eqn.params["axes"]), "keepdims": 0}
    whole = graph.cast(value, np.int32)
    return [graph.cast(graph.node(kind, [whole], out.shape, np.int32, **options), bool)]

  return rule


def _argmax(graph, eqn, operands):
  (value,), out = full_operands(graph, eqn, operands), eqn.outvars[0].aval
  kind = "ArgMax" if eqn.primitive.name == "argmax" else "ArgMin"
  (axis,) = eqn.params["axes"]
  found = graph.node(kind, [value], out.shape, np.int64, axis=axis, keepdims=0)
  return [graph.cast(found, out.dtype)]


def _cumsum(graph, eqn, operands):
  (value,) = full_operands(graph, eqn, operands)
  given = [value, np.array(eqn.params["axis"], np.int64)]
  reverse = int(eqn.params["reverse"])
  return [graph.node("CumSum", given, value.shape, value.dtype, reverse=reverse)]


def _gather(graph, eqn, operands):
  """A window of an array; rows of a table by numbers in it; `take_along_axis`."""
  out, numbers = eqn.outvars[0].aval, eqn.params["dimension_numbers"]
  axes, sizes = numbers.start_index_map, eqn.params["slice_sizes"]
  dropped = numbers.collapsed_slice_dims
  if len(eqn.invars[1].aval.shape) == 1:
    table = graph.full(operands[0], eqn.invars[0].aval.shape)
    starts, wide = operands[1], [sizes[axis] for axis in axes]
    if isinstance(starts, Value):
      starts = graph.cast(starts, np.int64)
      both = [starts, graph.dims(wide)]
      ends = graph.node("Add", both, starts.shape, np.int64)
    else:
      starts = np.asarray(starts, np.int64)
      ends = graph.dims([start + size for start, size in zip(starts.tolist(), wide)])
    window = [table, starts, ends, np.array(axes, np.int64)]
    found = graph.node("Slice", window, sizes, out.dtype)
    for axis in sorted(dropped, reverse=True):
      found = graph.squeezed(found, axis)
    return [found]
  table, ids = full_operands(graph, eqn, operands)
  if len(axes) != 1 or dropped != axes:
    raise BadInput(f"a gather of this form has no export: {numbers}")
  ids = graph.squeezed(ids, len(ids.shape) - 1)
  ((axis,), lead), rank = (axes, len(ids.shape)), len(table.shape)
  whole = [size for place, size in enumerate(sizes) if place != axis]
  rest = [size for place, size in enumerate(table.shape) if place != axis]
  inserted = tuple(i if i < axis else i + lead for i in range(rank - 1))
  batching = numbers.operand_batching_dims
  if not batching and whole == rest and numbers.offset_dims == inserted:
    return [graph.node("Gather", [table, ids], out.shape, out.dtype, axis=axis)]
  # Each place of the result looks along one axis, in the row that it stands in.
  own = [place for place in range(len(out.shape)) if place not in numbers.offset_dims]
  rows = zip(batching, numbers.start_indices_batching_dims)
  if (
    len(out.shape) == rank
    and sorted(own) == sorted((axis, *batching))
    and all(own[its] == place for place, its in rows)
  ):
    for place in numbers.offset_dims:
      ids = graph.unsqueezed(ids, place)
    given = [table, graph.full(ids, out.shape)]
    return [graph.node("GatherElements", given, out.shape, out.dtype, axis=axis)]
  raise BadInput(f"a gather of this form has no export: {numbers}")


def _sort(graph, eqn, operands):
  """One array, in ascending order along an axis: the smallest of all, sorted."""
  axis, (out, *others) = eqn.params["dimension"], eqn.outvars
  size = out.aval.shape[axis]
  if others or not isinstance(size, int):
    raise BadInput("a sort of several arrays, or along T or B, has no export")
  given = [*full_operands(graph, eqn, operands), np.array([size], np.int64)]
  options = {"axis": axis, "largest": 0, "sorted": 1}
  values, _ = graph.nodes_of("TopK", given, 2, **options)
  return [Value(values, out.aval.shape, out.aval.dtype)]


RULES: dict[str, Rule] = {
  **{name: _reduction(kind) for name, kind in REDUCTIONS.items()},
  "reduce_and": _any_or_all("ReduceMin"),
  "reduce_or": _any_or_all("ReduceMax"),
  "reduce_sum": _reduce_sum,
  "argmax": _argmax,
  "argmin": _argmax,
  "broadcast_in_dim": _broadcast_in_dim,
  "concatenate": _concatenate,
  "cumsum": _cumsum,
  "dim_as_value": _dim_as_value,
  "dot_general": _dot_general,
  "gather": _gather,
  "iota": _iota,
  "pad": _pad,
  "reshape": _reshape,
  "rev": _reverse,
  "slice": _slice,
  "sort": _sort,
  "split": _split,
  "squeeze": _squeeze,
  "transpose": _transpose,
}
