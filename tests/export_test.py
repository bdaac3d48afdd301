"""The page that exports a run, and StableHLO that JAX alone can run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import run
from tables import D, H, parameters

from unroll import cells, layers, scan
from unroll.exporting import exported
from unroll.exporting.program import of_layer
from unroll.scan import whole

ROOT = Path(__file__).parents[1]
SCRIPTS = re.findall(
  r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text("utf-8"), re.DOTALL
)


def test_a_scan_is_kept_whole():
  cell = cells.lstm(D, H)
  params, xs = parameters(cell), jnp.zeros((5, 2, D))

  def loop(xs):
    return scan.unroll(cell, params, cell.carry(params, 2), xs)

  expected = jax.eval_shape(loop, xs)
  with whole.kept():
    program, shapes = jax.make_jaxpr(loop, return_shape=True)(xs)
  names = [eqn.primitive.name for eqn in program.eqns]
  assert names.count("unroll") == 1 and not {"while", "scan"} & set(names)
  assert jax.tree.map(lambda s: s.shape, shapes) == jax.tree.map(
    lambda s: s.shape, expected
  )
  again = [eqn.primitive.name for eqn in jax.make_jaxpr(loop)(xs).eqns]
  assert "unroll" not in again
