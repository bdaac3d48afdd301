"""What is exported of a trained model: a function of named arrays, T and B free."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import symbolic_shape

from unroll.compose import no_draw
from unroll.data.series.horizons import Horizon
from unroll.data.series.scaler import Scaler
from unroll.data.vocabulary import VOCABULARY
from unroll.layers import Layer, as_layer
from unroll.loading import Loaded
from unroll.models import saved
from unroll.models.forecaster import Shape
from unroll.types import Array, BadInput, Cell, Params, is_draw

Kind = Literal["sequence", "step"]
Named = dict[str, Any]

# The kinds of models that have an export, and what their inputs and outputs are called.
CALLED = {
  "language": ("tokens", "logits"),
  "cloze": ("tokens", "logits"),
  "music": ("keys", "logits"),
  "classify": ("inputs", "logits"),
  "memory": ("inputs", "outputs"),
  "transcribe": ("inputs", "logits"),
}
UNMASKED = ("cloze",)  # they read whole sequences only


class Program(NamedTuple):
  """A trained model as a function of named arrays.

  Attributes:
    run: `(inputs, valid, states) -> (outputs, states)`, each a dict but `valid [T, B]`,
      which is None of a step and of a model that reads all.
    inputs: shapes by name, with the symbolic dimensions `t` and `b`.
    states: what each state is at the start, without the batch axis.
    valid: the shape of `valid`, or None.
    dims: the symbolic T and B; of a step, the B alone.
    told: what a file says of itself, by name.
  """

  run: Callable[[Named, Any, Named], tuple[Named, Named]]
  inputs: dict[str, jax.ShapeDtypeStruct]
  states: dict[str, np.ndarray]
  valid: jax.ShapeDtypeStruct | None
  dims: tuple[Any, ...]
  told: Mapping[str, str]

  def state_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of the states, `[B, …]`."""
    batch = self.dims[-1]
    return {
      name: jax.ShapeDtypeStruct((batch, *row.shape), row.dtype)
      for name, row in self.states.items()
    }


def beside(program: Program) -> str:
  """What a JSON file beside the program tells: how states start, the vocabulary."""
  return json.dumps({name: _read(text) for name, text in program.told.items()})


def _read(text: str) -> Any:
  """What is JSON as what it stands for, other texts as they are."""
  return json.loads(text) if text.startswith(("{", "[")) else text


def following(state: str) -> str:
  """What a state is called after the program, among its outputs."""
  return f"next.{state.removeprefix('state.')}"


def of_run(loaded: Loaded, kind: Kind = "sequence") -> Program:
  """The program of a trained model.

  Args:
    loaded: the model, of a run.
    kind: "sequence" reads T steps; "step" reads one, without a loop.

  Raises:
    BadInput: the model has no step, or is no program of arrays `[T, B, …]`.
  """
  model, flags = _model(loaded), loaded.config["flags"]
  built = saved.built(model, flags, loaded.files)
  windows = model == "forecast"
  if not windows and (model not in CALLED or not hasattr(built.example, "shape")):
    raise BadInput(
      f"this model of kind {model} has no export: those have that read one sequence, "
      f"of {', '.join(CALLED)}, forecast"
    )
  if flags.get("model") == "transformer":
    raise BadInput(
      "a run with model=transformer has no export: its cache has another length at "
      "every step"
    )
  if flags.get("dtype", "float32") != "float32":
    raise BadInput(
      f"a run with dtype={flags['dtype']} has no export: train with dtype=float32"
    )
  if kind == "step" and not built.causal:
    raise BadInput(
      f"program=step: a model of kind {model} reads later inputs: export a sequence"
    )
  told = {"model": model, "checkpoint": str(loaded.at)}
  told |= {_file(name): text for name, text in loaded.files.items()}
  if windows:
    return _forecast(loaded, told)
  return _program(
    lambda carry, inputs, valid: loaded.apply(loaded.params, carry, inputs, valid),
    (lambda batch: loaded.initial_carry(loaded.params, batch))
    if built.causal
    else None,
    built.example,
    CALLED[model],
    kind,
    masked=model not in UNMASKED,
    told=told,
  )


def of_layer(
  part: Cell | Layer, params: Params, features: int, kind: Kind = "sequence"
) -> Program:
  """The program of a cell or a layer alone, from `xs [T, B, D]` to `ys`.

  Args:
    part: the cell or the layer.
    params: its parameters.
    features: D.
    kind: see `of_run`.
  """
  layer = as_layer(part)
  return _program(
    lambda carry, xs, valid: layer.unroll(params, carry, xs, valid=valid),
    lambda batch: layer.carry(params, batch),
    np.zeros((1, 1, features), np.float32),
    ("xs", "ys"),
    kind,
  )


def _program(
  apply: Callable[..., tuple[Any, Any]],
  start: Callable[[int], Any] | None,
  example: Any,
  called: tuple[str, str],
  kind: Kind,
  *,
  masked: bool = True,
  told: Mapping[str, str] | None = None,
) -> Program:
  """The program of `apply(carry, inputs, valid) -> (carry, outputs)`.

  Args:
    apply: the model.
    start: the carry of B sequences; None: it has none.
    example: an input `[1, 1, …]`.
    called: what inputs and outputs are called.
    kind: see `of_run`.
    masked: whether a sequence may be shorter than T.
    told: what a file says of itself.
  """
  t, b = symbolic_shape("t, b")
  lead = (b,) if kind == "step" else (t, b)
  taken, given = called
  inputs = {taken: jax.ShapeDtypeStruct((*lead, *example.shape[2:]), example.dtype)}
  first = start(1) if start else None

  def run(inputs: Named, valid: Array | None, states: Named) -> tuple[Named, Named]:
    carry = _carry(first, states)
    if kind == "step":
      carry, out = apply(carry, inputs[taken][None], None)
      out = jnp.squeeze(out, 0)
    else:
      carry, out = apply(carry, inputs[taken], valid)
    after = _named_states(carry) if start else {}
    return {given: out}, {following(name): leaf for name, leaf in after.items()}

  rows = {name: np.asarray(leaf)[0] for name, leaf in _named_states(first).items()}
  mask = kind == "sequence" and masked
  valid = jax.ShapeDtypeStruct(lead, jnp.bool_) if mask else None
  return Program(run, inputs, rows, valid, lead, _told(kind, rows, told or {}))


def _forecast(loaded: Loaded, told: Mapping[str, str]) -> Program:
  """A forecaster as `past [T, B, C + P] -> forecast [K, B, C, Q]`, T that of the run.

  Both are in the units of the columns. A run that reads what is known in advance takes
  `known [T + K, B, F]` as well.
  """
  fields = json.loads(loaded.files[saved.SERIES])
  shape, scaler = Shape(**fields["shape"]), Scaler.from_json(fields["scaler"])
  mean, scale = (np.asarray(part, np.float32) for part in scaler)
  (batch,) = symbolic_shape("b")
  start = loaded.initial_carry(loaded.params, 1)
  columns, whole = shape.targets + shape.inputs, shape.window + shape.horizon
  wanted = {"past": (shape.window, batch, columns)}
  if shape.known:
    wanted["known"] = (whole, batch, shape.known)
  inputs = {name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in wanted.items()}

  def run(inputs: Named, valid: Array | None, states: Named) -> tuple[Named, Named]:
    past = (inputs["past"] - mean[None, None]) / scale[None, None]
    rows = past.shape[1]
    known = inputs.get("known", jnp.zeros((whole, rows, 0)))
    none = jnp.zeros((shape.horizon, rows, shape.targets))
    window = Horizon(past, known, none, none, none)  # type: ignore[arg-type]
    carry = jax.tree.map(
      lambda leaf: (
        no_draw()
        if is_draw(leaf)
        else jnp.broadcast_to(leaf[0], (rows, *leaf.shape[1:]))
      ),
      start,
      is_leaf=is_draw,
    )
    _, out = loaded.apply(loaded.params, carry, window)
    mine = (part[None, None, : shape.targets, None] for part in (scale, mean))
    factor, centre = mine
    return {"forecast": out * factor + centre}, {}

  return Program(
    run, inputs, {}, None, (shape.window, batch), _told("sequence", {}, told)
  )


def _model(loaded: Loaded) -> str:
  """The kind of a model, a key of `models.saved.MODELS`."""
  config = loaded.config
  kind = config.get("model") or saved.KINDS[config["experiment"]]
  if loaded.module is None:
    raise BadInput(
      f"a model of kind {kind} is no network, and has no export but as ARPA: use "
      "experiments.ngram"
    )
  return kind


def _file(name: str) -> str:
  """What a file that accompanies a run is called in the exported one."""
  return "vocabulary" if name == VOCABULARY else name.removesuffix(".json")


def _named_states(carry: Any) -> Named:
  """The leaves of a carry by their names: `state.0.h`. What draws has no name."""
  leaves = jax.tree.leaves_with_path(carry, is_leaf=is_draw)
  return {_name(path): leaf for path, leaf in leaves if not is_draw(leaf)}


def _name(path: tuple) -> str:
  keys = [jax.tree_util.keystr((key,), simple=True) for key in path]
  return ".".join(["state", *(key for key in keys if key != "layers")])


def _carry(like: Any, states: Named) -> Any:
  """The carry with these states, which draws nothing."""
  paths, tree = jax.tree.flatten_with_path(like, is_leaf=is_draw)
  leaves = [no_draw() if is_draw(leaf) else states[_name(p)] for p, leaf in paths]
  return jax.tree.unflatten(tree, leaves)


def _told(
  kind: Kind, rows: Mapping[str, np.ndarray], told: Mapping[str, str]
) -> dict[str, str]:
  """What a file says of itself."""
  states = [
    {"input": name, "output": following(name), "initial": row.tolist()}
    for name, row in rows.items()
  ]
  return {"program": kind, **told, "states": json.dumps(states)}
