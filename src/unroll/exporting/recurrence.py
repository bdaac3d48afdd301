"""A scan of ours in ONNX: an operator of its own, a `Scan`, or a single step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unroll.exporting.graph import Graph, Value
from unroll.exporting.native import Rows, native, operator
from unroll.exporting.translation import traced, translated
from unroll.scan.masks import masked_step
from unroll.types import BadInput, Cell, is_draw


class Scans:
  """The rule of a scan that was kept whole, and what it made of those it met.

  Args:
    lengths: by the name of a mask `[T, B]`, the lengths `[B]` that it is made of.
    rounded: the weights will have 8 bits, for which onnxruntime alone has operators: an
      LSTM, which then gets its lengths, but no other recurrent one.
    prefixes: other masks have lengths as well, the sum of their steps.

  Attributes:
    made: for each scan, in their order, what it became: "LSTM", "Scan", "step".
  """

  def __init__(
    self, lengths: dict[str, Value], rounded: bool = False, prefixes: bool = False
  ):
    self._lengths, self._rounded, self._prefixes = lengths, rounded, prefixes
    self.made: list[str] = []

  def __call__(self, graph: Graph, eqn: Any, operands: list) -> list:
    structure, cell = eqn.params["structure"], eqn.params["cell"]
    shapes = structure.unflatten([atom.aval for atom in eqn.invars])
    context = structure.unflatten(operands)[3]
    values = [
      graph.full(one, atom.aval.shape) if isinstance(one, Value) or _free(atom) else one
      for one, atom in zip(operands, eqn.invars)
    ]
    params, carry, xs, read, valid, reset = structure.unflatten(values)
    # What is known of a context stays as it is stored: a body may read constants.
    context = jax.tree.map(
      lambda one, full: full if isinstance(one, Value) else one, context, read
    )
    if any(isinstance(leaf, Value) for leaf in jax.tree.leaves(params)):
      raise BadInput("the parameters of a layer depend on its inputs: it has no export")
    params = cell.prepare(jax.tree.map(jnp.asarray, params))
    unrolled = Unrolled(
      cell, params, shapes, eqn.params["reverse"], eqn.params["every"]
    )
    rows = None
    if isinstance(valid, Value) and valid.name in self._lengths:
      rows = Rows(self._lengths[valid.name], valid)
    known = valid is None or rows is not None or self._prefixes
    own = None
    if known and context is None and reset is None and not unrolled.every:
      own = operator(cell, params, shapes[1])
    if own and self._rounded and own[0].kind != "LSTM":
      own = None
    one_step = shapes[2].shape[0] == 1
    if own and not one_step:
      if rows is None and valid is not None:
        rows = Rows(_summed(graph, valid), valid)
      self.made.append(own[0].kind)
      states, ys = native(
        *(graph, *own, [graph.value(leaf) for leaf in jax.tree.leaves(carry)]),
        *(graph.value(xs), rows, unrolled.reverse, self._rounded),
      )
      return [*states, ys]
    self.made.append("step" if one_step else "Scan")
    add = unrolled.single if one_step else unrolled.loop
    return add(graph, self, carry, xs, context, valid, reset)


def _summed(graph: Graph, valid: Value) -> Value:
  """The steps `[B]` of a mask `[T, B]`, int64."""
  given = [graph.cast(valid, np.int64), np.array([0], np.int64)]
  return graph.node("ReduceSum", given, valid.shape[1:], np.int64, keepdims=0)


def _free(atom: Any) -> bool:
  return any(not isinstance(size, int) for size in atom.aval.shape)


class Unrolled:
  """One scan: its cell, its parameters, and the shapes of what it reads."""

  def __init__(self, cell: Cell, params: Any, shapes: Any, reverse: bool, every: bool):
    self.cell, self.params, self.reverse, self.every = cell, params, reverse, every
    _, self.carry, self.xs, self.context, self.valid, self.reset = shapes

  def _projected(self, graph: Graph, rule: Any, xs: Any) -> tuple[Value, Any]:
    program, _ = traced(
      lambda xs: self.cell.project(self.params, xs), self._shape(self.xs)
    )
    (zs,) = translated(graph, program, [xs], rule)
    shape = program.out_avals[0]
    return graph.full(zs, shape.shape), shape

  @staticmethod
  def _shape(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)

  def _step(self, z: Any):
    """The program of a step: `(states, z, valid, reset, context) -> states, y`."""
    batch = self.xs.shape[1]
    leaves, tree = jax.tree.flatten(self.carry, is_leaf=is_draw)
    places = [i for i, leaf in enumerate(leaves) if not is_draw(leaf)]
    calm = jax.tree.map(lambda _: jnp.zeros((), jnp.int32), self.carry)

    def step(states, z, valid, reset, context):
      # What draws has no key, and so changes nothing.
      own = jax.tree.leaves(calm, is_leaf=is_draw)
      for place, state in zip(places, states):
        own[place] = state
      carry = jax.tree.unflatten(tree, own)
      initial = None if reset is None else self.cell.carry(self.params, batch)
      read = (context,) if self.cell.context else ()
      carry, y = masked_step(
        self.cell.step, self.params, carry, initial, read, z, (valid, reset)
      )
      after = jax.tree.leaves(carry, is_leaf=is_draw)
      return [after[place] for place in places], y

    rows = [None if m is None else self._row(m) for m in (self.valid, self.reset)]
    states = [self._shape(leaves[place]) for place in places]
    context = jax.tree.map(self._shape, self.context)
    return traced(step, states, self._row(z), *rows, context)[0]

  @staticmethod
  def _row(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape[1:], aval.dtype)

  def _states(self, graph: Graph, carry: Any) -> list[Value]:
    nodes = jax.tree.leaves(carry, is_leaf=is_draw)
    return [graph.value(leaf) for leaf in nodes if not is_draw(leaf)]

  def _all(self, carry: Any, states: list[Value]) -> list:
    """The leaves of a carry with new states; its draws are as they were."""
    new, found = iter(states), list[Any]()
    for node in jax.tree.leaves(carry, is_leaf=is_draw):
      found += jax.tree.leaves(node) if is_draw(node) else [next(new)]
    return found

  def single(self, graph: Graph, rule: Any, carry, xs, context, valid, reset) -> list:
    """A scan of one step, without a loop."""
    zs, shape = self._projected(graph, rule, xs)
    masks = [graph.value(m) for m in (valid, reset) if m is not None]
    rows = [graph.squeezed(value, 0) for value in (zs, *masks)]
    read = jax.tree.leaves(context)
    program = self._step(shape)
    given = [*self._states(graph, carry), *rows, *read]
    found = translated(graph, program, given, rule)
    full = [graph.full(one, a.shape) for one, a in zip(found, program.out_avals)]
    *states, y = full
    if self.every:
      states = [graph.unsqueezed(state, 0) for state in states]
    return [*self._all(carry, states), graph.unsqueezed(y, 0)]

  def loop(self, graph: Graph, rule: Any, carry, xs, context, valid, reset) -> list:
    """A `Scan`, whose body is a step."""
    zs, shape = self._projected(graph, rule, xs)
    program = self._step(shape)
    masks = [graph.value(m) for m in (valid, reset) if m is not None]
    sequences = [zs, *masks]
    if self.reverse:
      sequences = [graph.flipped(sequence) for sequence in sequences]
    states = self._states(graph, carry)
    body = Graph(outer=graph)
    inside = [Value(body.new("state"), s.shape, s.dtype) for s in states]
    slices = [Value(body.new("slice"), s.shape[1:], s.dtype) for s in sequences]
    body.rows = slices[0]
    given = [*inside, *slices, *jax.tree.leaves(context)]
    found = translated(body, program, given, rule)
    full = [body.full(one, a.shape) for one, a in zip(found, program.out_avals)]
    *after, y = full
    results = [*after, *(after if self.every else ()), y]
    # A value may not be two outputs, nor an input be one.
    own = [body.node("Identity", [v], v.shape, v.dtype) for v in results]
    made = graph.onnx.helper.make_graph(
      body.nodes,
      body.new("body"),
      [body.described(value) for value in (*inside, *slices)],
      [body.described(value) for value in own],
    )
    options = {"num_scan_inputs": len(sequences), "body": made}
    names = graph.nodes_of("Scan", [*states, *sequences], len(own), **options)
    length = (self.xs.shape[0],)
    stacked = [
      Value(name, length + v.shape, v.dtype)
      for name, v in zip(names[len(after) :], own[len(after) :])
    ]
    if self.reverse:
      stacked = [graph.flipped(value) for value in stacked]
    *every, ys = stacked
    last = [Value(name, v.shape, v.dtype) for name, v in zip(names, after)]
    return [*self._all(carry, every if self.every else last), ys]


def mask(graph: Graph, lengths: Value, steps: Any) -> Value:
  """`[T, B]`, true where a step is within its sequence; lengths are int64."""
  end = graph.squeezed(graph.value(graph.size(steps)), 0)
  given = [np.array(0, np.int64), end, np.array(1, np.int64)]
  at = graph.unsqueezed(graph.node("Range", given, (steps,), np.int64), 1)
  return graph.node("Less", [at, lengths], (steps, *lengths.shape), bool)
