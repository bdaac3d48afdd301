"""What is exported of a model: a function of named arrays, T and B free."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import symbolic_shape

from unroll.compose import no_draw
from unroll.layers import Layer, as_layer
from unroll.transformer import Cache
from unroll.types import Array, BadInput, Cell, Params, is_draw

Kind = Literal["sequence", "step", "encoder"]
Named = dict[str, Any]
Shapes = dict[str, jax.ShapeDtypeStruct]


class State(NamedTuple):
  """A state of a program.

  Attributes:
    shape: `[B, …]`.
    initial: what it is at the start, without the batch axis; None where another
      program gives it.
  """

  shape: jax.ShapeDtypeStruct
  initial: np.ndarray | None


class Program(NamedTuple):
  """A trained model as a function of named arrays.

  Attributes:
    run: `(inputs, valid, states) -> (outputs, states)`, each a dict but `valid [T, B]`,
      which is None of a step and of a model that reads all.
    inputs: shapes by name, with the symbolic dimensions `t` and `b`; `s` are the places
      of a memory, `p` the steps that a cache has.
    states: by name.
    valid: the shape of `valid`, or None.
    dims: the symbolic T and B; of a step, the B alone.
    told: what a file says of itself, by name.
    below: what the whole numbers of an input are below, by its name.
    padded: the inputs whose last axis ends in zeros, as the characters of a word: masks
      made of them are true at first steps alone.
  """

  run: Callable[[Named, Any, Named], tuple[Named, Named]]
  inputs: Shapes
  states: dict[str, State]
  valid: jax.ShapeDtypeStruct | None
  dims: tuple[Any, ...]
  told: Mapping[str, str]
  below: Mapping[str, int] = {}
  padded: tuple[str, ...] = ()

  def state_shapes(self) -> Shapes:
    """The shapes of the states, `[B, …]`."""
    return {name: state.shape for name, state in self.states.items()}


def beside(program: Program) -> str:
  """What a JSON file beside the program tells: how states start, the vocabulary."""
  return json.dumps({name: _read(text) for name, text in program.told.items()})


def _read(text: str) -> Any:
  """What is JSON as what it stands for, other texts as they are."""
  return json.loads(text) if text.startswith(("{", "[")) else text


def following(state: str) -> str:
  """What a state is called after the program, among its outputs."""
  return f"next.{state.removeprefix('state.')}"


def of_layer(
  part: Cell | Layer, params: Params, features: int, kind: Kind = "sequence"
) -> Program:
  """The program of a cell or a layer alone, from `xs [T, B, D]` to `ys`.

  Args:
    part: the cell or the layer.
    params: its parameters.
    features: D.
    kind: "sequence" reads T steps; "step" reads one, without a loop.
  """
  layer = as_layer(part)
  return stepping(
    lambda carry, xs, valid: layer.unroll(params, carry, xs, valid=valid),
    lambda batch: layer.carry(params, batch),
    np.zeros((1, 1, features), np.float32),
    ("xs", "ys"),
    kind,
  )


def stepping(
  apply: Callable[..., tuple[Any, Any]],
  start: Callable[[int], Any] | None,
  example: Any,
  called: tuple[str, str],
  kind: Kind,
  *,
  masked: bool = True,
  told: Mapping[str, str] | None = None,
  below: int = 0,
) -> Program:
  """The program of `apply(carry, inputs, valid) -> (carry, outputs)`.

  Args:
    apply: the model.
    start: the carry of B sequences; None: it has none.
    example: an input `[1, 1, …]`.
    called: what inputs and outputs are called.
    kind: see `of_layer`.
    masked: whether a sequence may be shorter than T.
    told: what a file says of itself.
    below: what inputs are below that are whole numbers.
  """
  t, b, p = symbolic_shape("t, b, p")
  lead = (b,) if kind == "step" else (t, b)
  taken, given = called
  inputs = {taken: jax.ShapeDtypeStruct((*lead, *example.shape[2:]), example.dtype)}
  first = start(1) if start else None

  def run(inputs: Named, valid: Array | None, states: Named) -> tuple[Named, Named]:
    carry = carried(first, states)
    if kind == "step":
      carry, out = apply(carry, inputs[taken][None], None)
      out = jnp.squeeze(out, 0)
    else:
      carry, out = apply(carry, inputs[taken], valid)
    return {given: out}, followed(carry) if start else {}

  own = states_of(first, b, p)
  mask = kind == "sequence" and masked
  valid = jax.ShapeDtypeStruct(lead, jnp.bool_) if mask else None
  said = {"program": kind, **(told or {}), **told_of(own)}
  return Program(run, inputs, own, valid, lead, said, {taken: below} if below else {})


def states_of(first: Any, batch: Any, past: Any) -> dict[str, State]:
  """The states of a carry of one sequence. What draws is none.

  Args:
    first: the carry.
    batch: the symbolic B.
    past: the symbolic slots of a cache.
  """
  rows = {name: np.asarray(leaf)[0] for name, leaf in named_states(first).items()}
  return {
    name: State(
      jax.ShapeDtypeStruct((batch, *shape_of(first, row.shape, past)), row.dtype), row
    )
    for name, row in rows.items()
  }


def shape_of(carry: Any, row: tuple[Any, ...], past: Any) -> tuple[Any, ...]:
  """The shape of a state without its batch; that of a cache has any number of slots."""
  if isinstance(carry, Cache) and len(row) == 3:
    return (row[0], past, row[2])
  return row


def named_states(carry: Any) -> Named:
  """The leaves of a carry by their names: `state.0.h`. What draws has no name."""
  leaves = jax.tree.leaves_with_path(carry, is_leaf=is_draw)
  return {_name(path): leaf for path, leaf in leaves if not is_draw(leaf)}


def followed(carry: Any) -> Named:
  """The states of a carry by their names after a program."""
  return {following(name): leaf for name, leaf in named_states(carry).items()}


def carried(like: Any, states: Named) -> Any:
  """The carry with these states, which draws nothing."""
  paths, tree = jax.tree.flatten_with_path(like, is_leaf=is_draw)
  leaves = [no_draw() if is_draw(leaf) else states[_name(p)] for p, leaf in paths]
  return jax.tree.unflatten(tree, leaves)


def _name(path: tuple) -> str:
  keys = [jax.tree_util.keystr((key,), simple=True) for key in path]
  return ".".join(["state", *(key for key in keys if key != "layers")])


def told_of(states: Mapping[str, State]) -> dict[str, str]:
  """What a file says of its states."""
  rows = []
  for name, state in states.items():
    kind = np.dtype(state.shape.dtype).name
    row = {"input": name, "output": following(name), "dtype": kind}
    if state.initial is not None:
      row["initial"] = state.initial.tolist()
    rows.append(row)
  return {"states": json.dumps(rows)}


def check_float32(flags: Mapping[str, Any]) -> None:
  """Refuses a run of another precision.

  Raises:
    BadInput: it is one.
  """
  if flags.get("dtype", "float32") != "float32":
    raise BadInput(
      f"a run with dtype={flags['dtype']} has no export: train with dtype=float32"
    )
