"""Recurrent operators of ONNX files come in: our layers give what onnxruntime gives."""

import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, H, T, noise

from bench.runtimes import RUNTIMES
from unroll.exporting.incoming import incoming
from unroll.types import BadInput

pytestmark = pytest.mark.peers
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def written(path, kind, directions=1, bias=True, **options):
  """A file with one operator of random numbers."""
  from onnx import helper, numpy_helper

  k = GATES[kind]
  shapes = {"W": (k * H, D), "R": (k * H, H)} | ({"B": (2 * k * H,)} if bias else {})
  arrays = [
    numpy_helper.from_array(noise(i, directions, *shape), name)
    for i, (name, shape) in enumerate(shapes.items())
  ]
  if directions == 2:
    options["direction"] = "bidirectional"
  node = helper.make_node(kind, ["X", *shapes], ["Y"], "one", hidden_size=H, **options)
  graph = helper.make_graph(
    [node],
    "graph",
    [helper.make_tensor_value_info("X", 1, [T, B, D])],
    [helper.make_tensor_value_info("Y", 1, None)],
    arrays,
  )
  opset = [helper.make_opsetid("", 17)]
  model = helper.make_model(graph, opset_imports=opset, ir_version=8)
  path.write_bytes(model.SerializeToString())
  return path


@pytest.mark.parametrize(
  "kind, options",
  [
    ("LSTM", {}),
    ("LSTM", {"bias": False}),
    ("LSTM", {"directions": 2}),
    ("GRU", {}),
    ("GRU", {"linear_before_reset": 1}),
    ("GRU", {"directions": 2, "linear_before_reset": 1}),
    ("RNN", {}),
    ("RNN", {"directions": 2, "activations": ["Relu", "Tanh"]}),
    ("RNN", {"direction": "reverse"}),
  ],
)
def test_an_operator_comes_in(kind, options, tmp_path):
  path = written(tmp_path / "a.onnx", kind, **options)
  (one,) = incoming(path)
  xs = noise(9, T, B, D)
  expected = RUNTIMES["onnxruntime"](path.read_bytes())({"X": xs})["Y"]
  expected = np.moveaxis(expected, 1, 2).reshape(T, B, -1)
  carry = one.layer.carry(one.params, B)
  way = {"reverse": True} if one.reverse else {}
  _, ys = one.layer.unroll(one.params, carry, jnp.asarray(xs), **way)
  np.testing.assert_allclose(ys, expected, atol=1e-5)
  assert one.kind == kind and one.name == "one"


@pytest.mark.parametrize(
  "kind, options, said",
  [
    ("LSTM", {"input_forget": 1}, "input_forget=1"),
    ("GRU", {"clip": 2.0}, "clip=2.0"),
    ("GRU", {"activations": ["Sigmoid", "Relu"]}, "activations Sigmoid, Relu"),
    ("RNN", {"activations": ["Softsign"]}, "activation Softsign"),
  ],
)
def test_what_our_cells_are_not_is_refused(kind, options, said, tmp_path):
  with pytest.raises(BadInput, match=f"one has .*{said}"):
    incoming(written(tmp_path / "a.onnx", kind, **options))


def test_other_files_are_refused(tmp_path):
  (tmp_path / "a.onnx").write_bytes(b"no protobuf")
  with pytest.raises(BadInput, match="is no ONNX file"):
    incoming(tmp_path / "a.onnx")
  with pytest.raises(BadInput, match="cannot be read"):
    incoming(tmp_path / "b.onnx")
