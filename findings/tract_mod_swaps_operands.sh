#!/usr/bin/env bash
# Guessed: ONNX Mod broadcasts its operands as Sub and Div do, or is refused.
# In fact: where the left operand is broadcast, [B, 1] against [1, 4], tract computes the right
#   one modulo the left one. Sub, Div and Pow of the same shapes are right, and so is Mod where
#   only the right one is broadcast.
# Versions: tract 0.23.9, onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, Python 3.11, Linux
#   x86-64, 2026-11-30.
# Why it matters: the clock of a recurrent cell, a number a row against a period a unit, is of
#   these shapes: other units tick, and the outputs are plausible. An Expand before the Mod does
#   not help: x - y trunc(x / y) does.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q tract==0.23.9 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
bin/python -I - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import onnxruntime
import tract
from onnx import helper, numpy_helper

periods = np.array([[1, 2, 4, 8]], np.float32)
column = np.array([[5], [6], [7]], np.float32)


def right(kind, x):
  """Whether tract computes what onnxruntime does."""
  options = {"fmod": 1} if kind == "Mod" else {}
  graph = helper.make_graph(
    [helper.make_node(kind, ["x", "p"], ["y"], **options)],
    "one",
    [helper.make_tensor_value_info("x", 1, list(x.shape))],
    [helper.make_tensor_value_info("y", 1, None)],
    [numpy_helper.from_array(periods, "p")],
  )
  opset = [helper.make_opsetid("", 17)]
  data = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
  (expected,) = onnxruntime.InferenceSession(data).run(None, {"x": x})
  with open("one.onnx", "wb") as file:
    file.write(data)
  model = tract.onnx().load("one.onnx")
  model.analyse()
  (found,) = model.into_model().into_runnable().run([x])
  print(f"{kind} of {x.shape}:", found.to_numpy().tolist(), "expected", expected.tolist())
  return np.allclose(found.to_numpy(), expected)


print(*(f"{name} {version(name)}" for name in ("tract", "onnxruntime", "onnx")), sep=", ")
whole = np.tile(column, (1, 4))
found = {(kind, len(x[0])): right(kind, x) for kind in ("Mod", "Sub", "Div") for x in (column, whole)}
as_found = [case for case, fine in found.items() if not fine] == [("Mod", 1)]
raise SystemExit(0 if as_found else "this behaviour has changed")
PYTHON
