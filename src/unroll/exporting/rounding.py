"""ONNX files whose weights have 8 bits, for onnxruntime: a quarter of the size."""

import itertools
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.exporting import onnxfile
from unroll.exporting.graph import library
from unroll.exporting.program import Program, following
from unroll.types import BadInput

# Of what has weights; convolutions of 8 bits onnxruntime has none of.
ROUNDED = ("MatMul", "LSTM", "Gather")


def rounded(data: bytes) -> bytes:
  """Rounds the weights of matrix products, LSTMs and tables of vectors to 8 bits.

  Each array has one scale: with one a channel an LSTM computes with others than it has
  (onnxruntime 1.32). Activations are rounded as they come, by their largest.

  Args:
    data: of `onnxfile.onnx_file`, told of it.

  Raises:
    BadInput: onnxruntime is not installed.
  """
  try:
    from onnxruntime.quantization import QuantType, quantize_dynamic
  except ImportError:
    raise BadInput(
      "weights of 8 bits need the package onnxruntime: pip install -e '.[onnx]' brings "
      "it"
    ) from None
  before = logging.root.manager.disable
  logging.disable(logging.WARNING)  # it advises what changes nothing here
  try:
    with tempfile.TemporaryDirectory() as folder:
      path = Path(folder, "rounded.onnx")
      quantize_dynamic(
        library().load_from_string(data),
        path,
        op_types_to_quantize=list(ROUNDED),
        weight_type=QuantType.QInt8,
        extra_options={"EnableSubgraph": True},
      )
      return path.read_bytes()
  finally:
    logging.disable(before)


def largest(data: bytes, program: Program) -> float:
  """The largest difference of outputs that are no states, as `onnxfile.cases` has them.

  Args:
    data: of `rounded`.
    program: what the file is of.
  """
  import onnxruntime

  session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
  worst = 0.0
  for given, expected in onnxfile.cases(program):
    real = {n: own for n, own in expected.items() if own.dtype == np.float32}
    names = [name for name in real if not name.startswith("next.")]
    for name, found in zip(names, session.run(names, given)):
      worst = max(worst, float(np.max(np.abs(found - real[name]), initial=0)))
  return worst


def nats(data: bytes, program: Program, tokens: NDArray[np.int32]) -> float:
  """The mean nats a token of a language model's file, in onnxruntime.

  Args:
    data: the file, of a sequence or of a step.
    program: what it is of.
    tokens: `[T + 1, B]`, of which all but the first are predicted, from the start on.
  """
  import onnxruntime

  session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
  names = ["logits", *map(following, program.states)]
  batch = tokens.shape[1]
  given: dict[str, NDArray[Any]] = {
    name: np.broadcast_to(state.initial, (batch, *np.shape(state.initial)))
    for name, state in program.states.items()
    if state.initial is not None
  }
  (taken,), whole = program.inputs, program.valid is not None
  if whole:
    given["lengths"] = np.full(batch, len(tokens) - 1, np.int32)
  total, parts = 0.0, itertools.pairwise(tokens)
  for rows, targets in [(tokens[:-1], tokens[1:])] if whole else parts:
    logits, *after = session.run(names, {**given, taken: rows})
    given |= dict(zip(program.states, after))
    logits = logits.astype(np.float64)
    own = np.take_along_axis(logits, targets[..., None], axis=-1)
    total += float(np.sum(np.logaddexp.reduce(logits, axis=-1) - own[..., 0]))
  return total / tokens[1:].size
