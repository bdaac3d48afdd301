"""Whole commands: a run by itself, or many as arms of one."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.shapes import Shape
from bench.timing import Timed

STEPS = 300
RATES = (0.5e-3, 1e-3, 2e-3, 4e-3)  # each with as many seeds as there are arms for it


def runs(shape: Shape, count: int) -> Timed:
  """Trains so many runs to their end in one process; seconds a run.

  Programs are kept from one call to the next, as in a sweep from its first run on.
  """
  cache = tempfile.TemporaryDirectory(prefix="unroll-bench-")

  def call() -> None:
    with tempfile.TemporaryDirectory(dir=cache.name) as folder:
      _train(shape, count, Path(folder), cache.name)

  return Timed(call, count)


def _train(shape: Shape, count: int, folder: Path, cache: str) -> None:
  command = [
    *(sys.executable, "-m", "experiments.charlm", "--json", f"--steps={STEPS}"),
    *(f"--cell={shape.cell}", f"--hidden={shape.hidden}", f"--layers={shape.layers}"),
    *(f"--embedding={shape.inputs}", f"--batch={shape.batch}"),
    f"--truncation=tbptt:{shape.steps}",
  ]
  if count == 1:
    command.append(f"--workdir={folder / 'alone'}")
  else:
    arms = [
      {
        "workdir": str(folder / f"arm-{i}"),
        "flags": {"seed": str(i // len(RATES)), "learning_rate": str(rate)},
      }
      for i, rate in enumerate((RATES * count)[:count])
    ]
    (folder / "arms.json").write_text(json.dumps(arms))
    command.append(f"--arms={folder / 'arms.json'}")
  environment = {**os.environ, "UNROLL_DATA": cache}
  done = subprocess.run(command, env=environment, capture_output=True, text=True)
  if done.returncode:
    raise RuntimeError(done.stderr.strip().splitlines()[-1])
