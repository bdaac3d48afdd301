"""Runtimes of ONNX: what makes of a file a function of named arrays.

Each is `data -> run`, and `run` is `arrays by name -> results by name`. The package of
one that is not installed is an ImportError.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Named = dict[str, Any]
Run = Callable[[Named], Named]


def onnxruntime(data: bytes) -> Run:
  """Microsoft's, on the CPU; also that of browsers and of Node."""
  import onnxruntime

  session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
  names = [output.name for output in session.get_outputs()]
  return lambda given: dict(zip(names, session.run(names, given)))


def openvino(data: bytes) -> Run:
  """Intel's, on the CPU, in float32."""
  import onnx
  import openvino

  core = openvino.Core()
  options = {"INFERENCE_PRECISION_HINT": "f32"}
  compiled = core.compile_model(core.read_model(data), "CPU", options)
  graph = onnx.load_from_string(data).graph

  def run(given: Named) -> Named:
    found = compiled(given)
    return {o.name: np.array(found[place]) for place, o in enumerate(graph.output)}

  return run


def tract(data: bytes) -> Run:
  """Sonos's, in Rust; it compiles a program for each shape."""
  import onnx
  import tract

  graph = onnx.load_from_string(data).graph
  types = {"float32": "F32", "int32": "I32"}
  programs = dict[Any, Any]()

  def compiled(given: Named) -> Any:
    with tempfile.TemporaryDirectory() as folder:
      path = Path(folder, "model.onnx")
      path.write_bytes(data)
      model = tract.onnx().load(path)
    for place, one in enumerate(graph.input):
      array = given[one.name]
      fact = [*map(str, array.shape), types[str(array.dtype)]]
      model.set_input_fact(place, ",".join(fact))
    model.analyse()
    return model.into_model().into_runnable()

  def run(given: Named) -> Named:
    arrays = [np.ascontiguousarray(given[one.name]) for one in graph.input]
    shapes = tuple(array.shape for array in arrays)
    if shapes not in programs:
      programs[shapes] = compiled(given)
    found = programs[shapes].run(arrays)
    return {o.name: value.to_numpy() for o, value in zip(graph.output, found)}

  return run


RUNTIMES: dict[str, Callable[[bytes], Run]] = {
  "onnxruntime": onnxruntime,
  "openvino": openvino,
  "tract": tract,
}
