#!/usr/bin/env bash
# Guessed: OpenVINO heeds sequence_lens of an ONNX LSTM, GRU or RNN, as it does in a model of
#   fixed shapes, or refuses it.
# In fact: where T or B of the input is free, sequence_lens is dropped without a word, also a
#   constant one: outputs behind a row's end are not zero, and the final states are those after
#   all T steps. With both of them fixed the result is right to 1e-6.
# Versions: openvino 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2, Python 3.11, Linux x86-64 CPU,
#   2026-11-30.
# Why it matters: a batch of texts of several lengths is what free axes are exported for; every
#   row but the longest gets the state of its padding. Give no lengths: read the output at the
#   last real step, and have the gates of an LSTM keep c behind it.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2
cd "$folder"
bin/python -I - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import onnxruntime
import openvino
from onnx import helper, numpy_helper

draw, D, H = np.random.default_rng(0), 3, 4
xs = draw.normal(size=(5, 3, D)).astype(np.float32)
lengths = np.array([5, 2, 1], np.int32)


def differs(kind, gates, t, b):
  """The largest difference between the two runtimes."""
  shapes = {"W": (1, gates * H, D), "R": (1, gates * H, H), "B": (1, 2 * gates * H)}
  some = {name: draw.normal(size=s).astype(np.float32) for name, s in shapes.items()}
  node = helper.make_node(kind, ["X", *some, "L"], ["Y", "Y_h"], hidden_size=H)
  graph = helper.make_graph(
    [node],
    "one",
    [
      helper.make_tensor_value_info("X", 1, [t, b, D]),
      helper.make_tensor_value_info("L", 6, [b]),
    ],
    [helper.make_tensor_value_info(name, 1, None) for name in ("Y", "Y_h")],
    [numpy_helper.from_array(array, name) for name, array in some.items()],
  )
  opset = [helper.make_opsetid("", 17)]
  data = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
  given = {"X": xs, "L": lengths}
  expected = onnxruntime.InferenceSession(data).run(None, given)
  core = openvino.Core()
  options = {"INFERENCE_PRECISION_HINT": "f32"}
  found = core.compile_model(core.read_model(data), "CPU", options)(given)
  return max(float(np.abs(found[i] - own).max()) for i, own in enumerate(expected))


print(*(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "onnx")), sep=", ")
as_found = True
for kind, gates in {"LSTM": 4, "GRU": 3, "RNN": 1}.items():
  for t, b in ((5, 3), ("t", 3), (5, "b"), ("t", "b")):
    off = differs(kind, gates, t, b)
    print(f"{kind} of [{t}, {b}, {D}]: off by {off:.1e}")
    as_found &= (off < 1e-5) == ((t, b) == (5, 3))
raise SystemExit(0 if as_found else "this behaviour has changed")
PYTHON
