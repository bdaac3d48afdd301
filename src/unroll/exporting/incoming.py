"""Recurrent operators of an ONNX file as our layers, with their parameters."""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from unroll import cells
from unroll.exporting.graph import library
from unroll.layers import Layer, as_layer, bidirectional
from unroll.types import BadInput, Cell, Params

KINDS = {"LSTM": 4, "GRU": 3, "RNN": 1}  # gates
PLAIN = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}
RNN = {"Tanh": cells.vanilla, "Relu": cells.relu_rnn}
# What an operator may have and our cells have not, with its value by default.
OTHERS = {"clip": None, "input_forget": 0, "layout": 0}


class Incoming(NamedTuple):
  """A recurrent operator.

  Attributes:
    name: of its node, or of its first output.
    kind: "LSTM", "GRU" or "RNN".
    layer: ours, for `layers.stacked` or its own `unroll`; outputs of both directions
      stand side by side, `[T, B, 2H]`.
    params: its parameters.
    reverse: whether it reads from right to left: `unroll(…, reverse=True)`.
  """

  name: str
  kind: str
  layer: Layer
  params: Params
  reverse: bool


def incoming(path: str | Path) -> list[Incoming]:
  """The operators `LSTM`, `GRU` and `RNN` of a file, in its order.

  `LSTM` becomes `cells.lstm`; `GRU` `gru` or, where it resets before the product,
  `gru_reset_before`; `RNN` `vanilla` or `relu_rnn`.

  Args:
    path: of an ONNX file.

  Raises:
    BadInput: it is none, has no such operator, or one that our cells are not: with
      peepholes, clipping, coupled gates or other activations.
  """
  onnx = library()
  try:
    graph = onnx.load(path).graph
  except OSError as error:
    raise BadInput(f"{path} cannot be read ({error.strerror})") from None
  except Exception:  # of protobuf, which has many
    raise BadInput(f"{path} is no ONNX file: give another") from None
  arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
  for node in graph.node:
    if node.op_type == "Constant" and node.attribute[0].name == "value":
      arrays[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
  found = [
    _layer(node, onnx.helper.get_attribute_value, arrays)
    for node in graph.node
    if node.op_type in KINDS
  ]
  if not found:
    raise BadInput(f"{path} has no {' or '.join(KINDS)}: there is nothing to take in")
  return found


def _layer(node: Any, value: Any, arrays: dict[str, np.ndarray]) -> Incoming:
  options = {attribute.name: value(attribute) for attribute in node.attribute}
  name = node.name or node.output[0]
  for option, usual in OTHERS.items():
    if options.get(option, usual) != usual:
      raise BadInput(f"{name} has {option}={options[option]}, and our cells have none")
  inputs = [*node.input, *[""] * 8]
  if inputs[7]:
    raise BadInput(f"{name} has peepholes, and our LSTM has none")
  missing = [one for one in inputs[1:4] if one and one not in arrays]
  if missing:
    raise BadInput(f"{name} reads {missing[0]}, which is no constant of the file")
  w, r = arrays[inputs[1]], arrays[inputs[2]]
  b = arrays[inputs[3]] if inputs[3] else np.zeros((len(w), 2 * w.shape[1]), w.dtype)
  direction = options.get("direction", b"forward").decode()
  activations = [one.decode() for one in options.get("activations", [])]
  each = len(activations) // len(w)
  own = [
    _cell(name, node.op_type, options, activations[i * each : (i + 1) * each], *weights)
    for i, weights in enumerate(zip(w, r, b))
  ]
  if len(own) == 1:
    ((cell, params),) = own
    layer = as_layer(cell)
  else:
    (forward, _), (backward, _) = own
    layer = bidirectional(forward, backward)
    params = tuple(params for _, params in own)
  return Incoming(name, node.op_type, layer, params, direction == "reverse")


def _cell(
  name: str, kind: str, options: Any, activations: list[str], w: Any, r: Any, b: Any
) -> tuple[Cell, Params]:
  """The cell of one direction, and its parameters."""
  sizes = (w.shape[1], r.shape[1])
  if kind == "RNN":
    activation = (activations or ["Tanh"])[0]
    if activation not in RNN:
      raise BadInput(f"{name} has the activation {activation}: ours are Tanh and Relu")
    w_x, w_h, b_x, b_h = _ours(w, r, b, "h", "h")
    return RNN[activation](*sizes), cells.VanillaParams(w_x, w_h, b_x + b_h)
  if activations and tuple(activations) != PLAIN[kind]:
    raise BadInput(
      f"{name} has the activations {', '.join(activations)}: ours are plain"
    )
  if kind == "LSTM":
    w_x, w_h, b_x, b_h = _ours(w, r, b, "ifgo", "iofg")
    return cells.lstm(*sizes), cells.LSTMParams(w_x, w_h, b_x + b_h)
  w_x, w_h, b_x, b_h = _ours(w, r, b, "rzn", "zrn")
  rz = 2 * sizes[1]
  if not options.get("linear_before_reset", 0):
    params = cells.GRUResetBeforeParams(w_x, w_h[:, :rz], w_h[:, rz:], b_x + b_h)
    return cells.gru_reset_before(*sizes), params
  inside = b_x + b_h.at[rz:].set(0)
  return cells.gru(*sizes), cells.GRUParams(w_x, w_h, inside, b_h[rz:])


def _ours(w: Any, r: Any, b: Any, order: str, its: str) -> list:
  """W, R and both halves of B with our order of gates, `[…, kH]`."""

  def turned(rows: Any) -> Any:
    parts = dict(zip(its, np.split(rows, len(its))))
    return jnp.asarray(np.concatenate([parts[gate] for gate in order]).T)

  return [turned(rows) for rows in (w, r, *np.split(b, 2))]
