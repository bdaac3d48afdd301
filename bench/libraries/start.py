"""From the start of a process to its first finished training step."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from bench.shapes import Shape
from bench.timing import Timed


def start(shape: Shape, module: str, cached: bool) -> Timed:
  """A process that ends with the first step of a model; what its time went to is noted.

  Args:
    shape: of the model.
    module: what the process runs, see `bench.started` and `bench.started_torch`.
    cached: whether a run before has compiled the same programs.
  """
  cache = tempfile.TemporaryDirectory(prefix="unroll-bench-")
  note: dict[str, Any] = {}

  def call() -> None:
    with tempfile.TemporaryDirectory(dir=cache.name) as workdir:
      note.update(_first_step(shape, module, f"{workdir}/run", cache.name))

  if cached:
    call()
  return Timed(call, note=note)


def _first_step(
  shape: Shape, module: str, workdir: str, cache: str
) -> Mapping[str, float]:
  done = subprocess.run(
    [sys.executable, "-m", module, json.dumps(shape._asdict()), workdir],
    env={**os.environ, "UNROLL_DATA": cache},
    capture_output=True,
    text=True,
  )
  if done.returncode:
    raise RuntimeError(done.stderr.strip().splitlines()[-1])
  return json.loads(done.stdout.splitlines()[-1])
