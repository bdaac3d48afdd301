"""A trained model as StableHLO, by `jax.export`: it runs where jax is, without unroll.

The function is `(inputs, lengths, states) -> (outputs, states)`, each a dict of arrays
by name but `lengths [B]`, which a step has not: `(inputs, states)`. Parameters are
inside; T and B are free.
"""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unroll.exporting.program import Program
from unroll.types import BadInput

PLATFORMS = ("cpu", "cuda", "tpu")


def exported(program: Program) -> bytes:
  """Compiles a program for whoever loads it, with `jax.export.deserialize`.

  Raises:
    BadInput: the package flatbuffers is not installed, which JAX writes files with.
  """
  if importlib.util.find_spec("flatbuffers") is None:
    raise BadInput(
      "JAX writes programs with the package flatbuffers: pip install flatbuffers"
    )
  shapes = program.state_shapes()

  def whole(inputs, states):
    return program.run(inputs, None, states)

  def rows(inputs, lengths, states):
    steps = jnp.arange(program.dims[0], dtype=jnp.int32)
    return program.run(inputs, steps[:, None] < lengths[None], states)

  run: Any = whole
  given: tuple = (program.inputs, shapes)
  if program.valid is not None:
    lengths = jax.ShapeDtypeStruct(program.dims[-1:], np.int32)
    run, given = rows, (program.inputs, lengths, shapes)
  made = jax.export.export(jax.jit(run), platforms=PLATFORMS)(*given)
  return bytes(made.serialize())
