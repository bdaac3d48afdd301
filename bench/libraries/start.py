"""From the start of the process to the first finished step of `experiments.charlm`."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.shapes import Shape
from bench.timing import Timed


def compile(shape: Shape, cached: bool) -> Timed:
  """The first step of a run with the default flags.

  Args:
    shape: of that run.
    cached: whether a run before has compiled the same programs.
  """
  del shape
  cache = tempfile.TemporaryDirectory(prefix="unroll-bench-")

  def call():
    with tempfile.TemporaryDirectory(dir=cache.name) as workdir:
      _first_step(Path(workdir), cache.name)

  if cached:
    call()
  return Timed(call)


def _first_step(workdir: Path, cache: str) -> None:
  metrics = workdir / "metrics.jsonl"
  with subprocess.Popen(
    [sys.executable, "-m", "experiments.charlm", f"--workdir={workdir}"],
    env={**os.environ, "UNROLL_DATA": cache},
    stdout=subprocess.DEVNULL,
  ) as process:
    while not (metrics.exists() and metrics.stat().st_size):
      if process.poll() is not None:
        raise RuntimeError(f"experiments.charlm ended with {process.returncode}")
      time.sleep(0.01)
    process.kill()
