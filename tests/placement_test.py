"""The laws of gradients where arrays are not all on one device."""

import json
import subprocess
import sys

import pytest

ALWAYS = ["lookup", "readout"]
TAKES_LONGER = [
  "export",
  "meshes_float32",
  "meshes_bfloat16",
  "explicit_autodiff",
  "explicit_closing",
  "shard_map",
]


@pytest.mark.parametrize(
  "law", [*ALWAYS, *(pytest.param(law, marks=pytest.mark.slow) for law in TAKES_LONGER)]
)
def test_gradients_wherever_arrays_lie(law):
  command = [sys.executable, "-m", "tests.placements", law]
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert json.loads(done.stdout) == {}
