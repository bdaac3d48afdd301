"""A trained model as an ONNX file: written, read back, run and compared.

Inputs: `tokens [T, B]` (another model has others), `lengths [B]`, and a state
`state.… [B, …]` for each of the model. Outputs: `logits [T, B, V]`, 0 or the bias alone
after a row's length, and the states after its last step, `next.…`. Of a step there are
neither T nor lengths. A row of length 0 keeps its state.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unroll.exporting.elementwise import elementwise
from unroll.exporting.graph import IR, OPSET, Graph, Value
from unroll.exporting.program import Program, following
from unroll.exporting.recurrence import Scans, mask
from unroll.exporting.translation import traced, translated
from unroll.scan import whole
from unroll.types import BadInput

LENGTHS = "lengths"
# T, B, places of a memory and steps of a cache that a file is tried with.
SIZES = ({"t": 1, "b": 1, "s": 4, "p": 2}, {"t": 7, "b": 3, "s": 5, "p": 3})
NEAR = 1e-4  # of numbers of about 1


class Written(NamedTuple):
  """What an ONNX file is.

  Attributes:
    data: its bytes.
    scans: what each scan of the model became: "LSTM", "GRU", "RNN", "Scan" or "step".
    nodes: the number of nodes, loops counted as one.
  """

  data: bytes
  scans: list[str]
  nodes: int


def onnx_file(program: Program, rounded: bool = False) -> Written:
  """Translates a program.

  Args:
    program: the program.
    rounded: `rounding.rounded` will have it, so that it is for onnxruntime alone.

  Raises:
    BadInput: the package onnx is not installed, or an operation has no export.
  """
  graph = Graph()
  inputs = {n: Value(n, s.shape, np.dtype(s.dtype)) for n, s in program.inputs.items()}
  shapes = program.state_shapes()
  states = {n: Value(n, s.shape, np.dtype(s.dtype)) for n, s in shapes.items()}
  given: list[Any] = [*inputs.values(), *states.values()]
  for value in given:
    graph.measure(value, value.shape)
  masks, lengths, valid = dict[str, Value](), None, None
  if program.valid is not None:
    lengths = Value(LENGTHS, (program.dims[-1],), np.dtype(np.int32))
    within = _within(graph, lengths, program.dims[0])
    valid = mask(graph, within, program.dims[0])
    masks = {valid.name: within}
  rule = Scans(masks, rounded, bool(program.padded))
  with whole.kept():
    jaxpr, structure = traced(
      lambda *given: program.run(*given), program.inputs, program.valid, shapes
    )
  # Dicts are flattened by their names.
  operands = [
    *(inputs[name] for name in sorted(inputs)),
    *([valid] if valid else []),
    *(states[name] for name in sorted(states)),
  ]
  found = translated(graph, jaxpr, operands, rule)
  full = [graph.full(one, a.shape) for one, a in zip(found, jaxpr.out_avals)]
  outputs, after = jax.tree.unflatten(structure, full)
  results = {**outputs, **after}
  for name, value in results.items():
    given_names = {"inputs": [value.name], "outputs": [name], "name": name}
    graph.nodes.append(
      graph.onnx.helper.make_node("Identity", **given_names)  # under its own name
    )
  takes = [*given, *([lengths] if lengths else [])]
  made = graph.onnx.helper.make_graph(
    _needed(graph, set(results)),
    "unroll",
    [graph.described(value) for value in takes],
    [graph.described(value, name) for name, value in results.items()],
  )
  return Written(_finished(graph, made, program.told), rule.made, len(made.node))


def _within(graph: Graph, lengths: Value, steps: Any) -> Value:
  """Lengths of at most T and at least 0, int64."""
  wide, none = graph.cast(lengths, np.int64), np.array(0, np.int64)
  most = elementwise(graph, "Min", wide, graph.size(steps))
  return elementwise(graph, "Max", most, none)


def _needed(graph: Graph, results: set[str]) -> list[Any]:
  """The nodes that the results depend on."""
  wanted, kept = set(results), []
  for node in reversed(graph.nodes):
    if wanted & set(node.output):
      kept.append(node)
      wanted |= set(_read(node))
  return kept[::-1]


def _read(node: Any) -> Iterator[str]:
  """The names that a node reads, those within its body included."""
  yield from node.input
  for attribute in node.attribute:
    for inner in attribute.g.node:
      yield from _read(inner)


def _finished(graph: Graph, made: Any, told: Mapping[str, str]) -> bytes:
  """The model, checked, as bytes."""
  read = {name for node in made.node for name in _read(node)}
  made.initializer.extend(one for one in graph.constants() if one.name in read)
  helper = graph.onnx.helper
  model = helper.make_model(
    made,
    producer_name="unroll",
    ir_version=IR,
    opset_imports=[helper.make_opsetid("", OPSET)],
  )
  helper.set_model_props(model, dict(told))
  graph.onnx.checker.check_model(model)
  return model.SerializeToString()


class Case(NamedTuple):
  """What a program is tried with, and what it gives."""

  given: dict[str, np.ndarray]
  expected: dict[str, np.ndarray]


def cases(program: Program, seed: int = 0) -> Iterator[Case]:
  """Programs of two lengths and two batch sizes, with what our own makes of them.

  Args:
    program: the program.
    seed: of what is drawn.
  """
  draw, run = np.random.default_rng(seed), jax.jit(program.run)

  def drawn(name: str, spec: jax.ShapeDtypeStruct, sizes: dict[str, int]) -> np.ndarray:
    shape = [sizes.get(str(size), size) for size in spec.shape]
    if jnp.issubdtype(spec.dtype, jnp.floating):
      return np.asarray(draw.normal(size=shape)).astype(spec.dtype)
    ids = np.asarray(draw.integers(0, program.below.get(name, 2), shape))
    if name in program.padded:
      ends = draw.integers(0, shape[-1] + 1, (*shape[:-1], 1))
      ids = np.where(np.arange(shape[-1]) < ends, np.maximum(ids, 1), 0)
    return ids.astype(spec.dtype)

  for sizes in SIZES:
    steps, batch = (sizes.get(str(n), n) for n in (program.dims[0], program.dims[-1]))
    inputs = {name: drawn(name, spec, sizes) for name, spec in program.inputs.items()}
    lengths = draw.integers(1, steps + 1, batch).astype(np.int32)
    lengths[-1] *= batch == 1  # one row without a step
    valid = None
    if program.valid is not None:
      valid = np.arange(steps)[:, None] < lengths
    states = {
      name: drawn(name, state.shape, sizes)
      if state.initial is None
      else np.broadcast_to(state.initial, (batch, *state.initial.shape))
      for name, state in program.states.items()
    }
    if states:  # one that the model has reached
      before = run(inputs, None if valid is None else valid[:, ::-1], states)
      states = {n: np.asarray(before[1][following(n)]) for n in states}
    found, after = run(inputs, valid, states)
    given = {**inputs, **states}
    if valid is not None:
      given[LENGTHS] = lengths
    yield Case(given, {n: np.asarray(v) for n, v in {**found, **after}.items()})


def difference(data: bytes, program: Program) -> float | None:
  """How far onnxruntime is from our own program, at most; None without onnxruntime.

  The file is read back and run with two lengths and two batch sizes, from a state that
  the model has reached, with a row of length 0.

  Raises:
    BadInput: it is farther than 1e-4 of what is about 1.
  """
  try:
    import onnxruntime
  except ImportError:
    return None
  session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
  worst = 0.0
  for given, expected in cases(program):
    found = session.run(list(expected), given)
    for name, own in zip(expected, found):
      scale = max(1.0, float(np.max(np.abs(expected[name]), initial=0)))
      both = np.subtract(own, expected[name], dtype=np.float64)
      off = float(np.max(np.abs(both), initial=0)) / scale
      if not off <= NEAR:
        raise BadInput(
          f"onnxruntime {onnxruntime.__version__} computes {name} otherwise, by {off}: "
          "nothing is written; tell us of it"
        )
      worst = max(worst, off)
  return worst
