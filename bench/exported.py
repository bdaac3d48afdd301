"""Exported programs in other runtimes: what each computes, and how fast.

  python -m bench.exported --cells=lstm,gru,mgu
  python -m bench.exported --workdir=RUN

The first has a row a cell: how far each runtime is from our own program, at most, over
two lengths and two batch sizes, from a state, with rows of many lengths and one of 0.
The second has the files of a run: their size, the time of each of its programs, as of
one step and of a sequence, and how far they are from our own. The extra `onnx` brings
onnxruntime; OpenVINO and tract are the packages `openvino` and `tract`. What is not
installed is left out.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax
import numpy as np

from bench.runtimes import RUNTIMES
from experiments.session import door
from experiments.session.settings import Page, Settings
from unroll import loading
from unroll.cells import CELLS
from unroll.exporting import exported, onnxfile
from unroll.exporting.program import Program, of_layer
from unroll.exporting.runs import kinds, of_run
from unroll.settings import setting

FEATURES, HIDDEN = 3, 4


@dataclass(frozen=True)
class Exported:
  """Exported programs"""

  cells: tuple[str, ...] = setting((), "cells of the table; all if empty")
  workdir: str = setting("", "a run whose programs are timed", kind="path")
  steps: int = setting(64, "T of a sequence, S of a memory, P of a cache", least=1)
  batch: int = setting(1, "B of both", least=1)
  repeat: int = setting(30, "runs of which the median counts", least=1)


def main(settings: Settings) -> None:
  """Prints a table."""
  chosen = settings[Exported]
  found = [name for name in RUNTIMES if importlib.util.find_spec(name)]
  print("  ".join(f"{name} {metadata.version(name)}" for name in found))
  if chosen.workdir:
    _timed(chosen, found)
    return
  print(f"{'cell':22}{'sequence as':12}" + "".join(f"{name:>14}" for name in found))
  for name in chosen.cells or CELLS:
    cell = CELLS[name](FEATURES, HIDDEN)
    program = of_layer(cell, cell.init(jax.random.key(0)), FEATURES)
    written = onnxfile.onnx_file(program)
    off = [_off(program, written.data, runtime) for runtime in found]
    print(f"{name:22}{written.scans[0]:12}" + "".join(f"{text:>14}" for text in off))


def _off(program: Program, data: bytes, runtime: str) -> str:
  """The largest difference of a runtime, or what it says instead of running."""
  try:
    run, worst = RUNTIMES[runtime](data), 0.0
    for given, expected in onnxfile.cases(program):
      results = run(given)
      offs = [
        np.abs(np.subtract(results[n], own, dtype=np.float64)).max()
        for n, own in expected.items()
      ]
      worst = max(worst, *offs)
    return f"{worst:.0e}"
  except Exception as error:  # of any library
    return type(error).__name__


def _timed(chosen: Exported, found: list[str]) -> None:
  """A row a runtime: of each program milliseconds, and how far it is from our own."""
  loaded = loading.load(chosen.workdir)
  programs = kinds(loaded)
  print(f"B = {chosen.batch}, T, S or P = {chosen.steps}: ms, and the difference")
  print(f"{'':14}" + "".join(f"{kind:>10}{'':>10}" for kind in programs))
  rows = dict[str, list[str]]()
  for kind in programs:
    program = of_run(loaded, kind)
    data = onnxfile.onnx_file(program).data
    given = _given(program, chosen)
    for name in found:
      off = _off(program, data, name)
      ran = off[0].isdigit()
      time = _milliseconds(RUNTIMES[name](data), given, chosen) if ran else ""
      rows.setdefault(name, []).append(f"{time:>10}{off:>10}")
    lengths = [given.pop(onnxfile.LENGTHS)] if program.valid is not None else []
    states = {name: given.pop(name) for name in program.states}
    called = jax.jit(jax.export.deserialize(bytearray(exported.exported(program))).call)

    def alone(inputs: Any, run: Any = called, rest: Any = (*lengths, states)) -> Any:
      return jax.block_until_ready(run(inputs, *rest))

    ours = f"{_milliseconds(alone, given, chosen):>10}{'':10}"
    rows.setdefault("jax.export", []).append(ours)
    print(f"{kind}.onnx has {len(data) / 2**20:.2f} MiB")
  for name, cells in rows.items():
    print(f"{name:14}" + "".join(cells))


def _given(program: Program, chosen: Exported) -> dict[str, np.ndarray]:
  """Inputs of a length and a batch size, all steps and places real."""
  sizes = {**dict.fromkeys("tsp", chosen.steps), "b": chosen.batch}
  shapes = {**program.inputs, **program.state_shapes()}
  given = {
    name: np.full([sizes.get(str(n), n) for n in s.shape], s.dtype == bool, s.dtype)
    for name, s in shapes.items()
  }
  if program.valid is not None:
    given[onnxfile.LENGTHS] = np.full(chosen.batch, chosen.steps, np.int32)
  return given


def _milliseconds(run: Callable[[Any], Any], given: Any, chosen: Exported) -> str:
  times = []
  for _ in range(3 + chosen.repeat):
    start = time.perf_counter()
    run(given)
    times.append(time.perf_counter() - start)
  return f"{1e3 * statistics.median(times[3:]):.3f}"


PAGE = Page("exported", main, (Exported,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
