"""A trained model as StableHLO, by `jax.export`: it runs where jax is, without unroll.

The function is `(inputs, lengths, states) -> (outputs, states)`, each a dict of arrays
by name but `lengths [B]`, which a step has not: `(inputs, states)`. Parameters are
inside; T and B are free.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unroll.exporting.program import Program

PLATFORMS = ("cpu", "cuda", "tpu")


def exported(program: Program) -> bytes:
  """Compiles a program for whoever loads it, with `jax.export.deserialize`."""
  shapes = program.state_shapes()
  if program.valid is None:
    run: Any = lambda inputs, states: program.run(inputs, None, states)  # noqa: E731
    given: tuple = (program.inputs, shapes)
  else:
    steps, batch = program.dims

    def run(inputs, lengths, states):
      valid = jnp.arange(steps, dtype=jnp.int32)[:, None] < lengths
      return program.run(inputs, valid, states)

    given = (program.inputs, jax.ShapeDtypeStruct((batch,), np.int32), shapes)
  made = jax.export.export(jax.jit(run), platforms=PLATFORMS)(*given)
  return bytes(made.serialize())


def told(program: Program) -> str:
  """What stands in the JSON file beside it: how states start, the vocabulary."""
  found = {**program.told, "states": json.loads(program.told["states"])}
  if "vocabulary" in found:
    found["vocabulary"] = json.loads(program.told["vocabulary"])
  return json.dumps(found)
