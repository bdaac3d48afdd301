"""`python -m bench`: flags, the race, and what is made of it."""

import functools
import importlib.util
import json
import platform
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import classify, loss, memory, resets, starts, together, translate
from bench.race import Contestant, Row, race
from bench.shapes import GATES, Shape
from bench.suites import MODULES, SUITES, Suite
from bench.table import MACHINE, OURS, ceiling, table
from bench.timing import CORES
from experiments.session import door
from experiments.session.settings import Page, Settings
from experiments.session.terminal import say
from unroll.devices import named_count
from unroll.settings import setting
from unroll.types import BadInput

# Suites that have no other rows, and why.
FIXED = {
  "loss": "the rows of --suite=loss differ in vocabulary",
  "classify": "--suite=classify has one model, that of its sentences",
  "start": "--suite=start has one model, the default of experiments.charlm",
}


@dataclass(frozen=True)
class Bench:
  """Benchmark"""

  suite: str = setting("layer", "what is measured", choices=list(SUITES))
  peers: tuple[str, ...] = setting((), f"libraries to race: {', '.join(MODULES)}")
  grid: tuple[str, ...] = setting(
    (), "BxTxDxH[xL],…: other shapes than the suite has itself"
  )
  cells: tuple[str, ...] = setting(
    (), f"cells of {', '.join(GATES)}, of --suite=cells any; all if empty"
  )
  keep_memory: bool = setting(
    True, "whether peers keep the memory that they free, as we do"
  )
  rounds: int = setting(5, "how often each library has its turn", least=1)
  devices: str = setting(
    "auto",
    "devices that the batch is spread over, a core of a CPU one each; auto: as many as "
    "have 4 rows or more, or 16 if layers are wider than 512",
  )
  dtype: str = setting(
    "float32",
    "type of matrix products; sums are float32",
    choices=("float32", "bfloat16"),
  )
  plot: str = setting(
    "", "a PNG of --suite=memory: memory and time against T", kind="path"
  )
  out: str = setting("", "a JSON file for all that was measured", kind="path")


def main(settings: Settings) -> None:
  """Measures a suite, prints its table and writes its figures."""
  bench = settings[Bench]
  if bench.plot and bench.suite != "memory":
    raise BadInput(f"--plot is for --suite=memory, not {bench.suite}: drop it")
  if not (bench.keep_memory or bench.peers):
    raise BadInput("--nokeep_memory is for the peers: name some with --peers")
  if (bench.grid or bench.cells) and (why := FIXED.get(bench.suite)):
    raise BadInput(f"--grid and --cells: {why}; drop them")
  suite = SUITES[bench.suite]
  if "devices" in settings.given and not suite.spread:
    raise BadInput(f"--devices: --suite={bench.suite} runs on one of them; drop it")
  peers = _peers(bench, suite)
  for name in (OURS, *peers):
    if bench.dtype != "float32" and name not in suite.mixed:
      raise BadInput(
        f"--dtype={bench.dtype}: --suite={bench.suite} measures {name} in float32 "
        "only; drop --dtype"
      )
  races = [
    (shape, _contestants(bench, suite, shape, peers)) for shape in _shapes(bench, suite)
  ]
  command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
  report = {"command": command, **_surroundings(bench, peers)}
  rows: list[Row] = []
  _write(bench, report, rows)  # a path that cannot be written is better known now
  for number, (shape, racing) in enumerate(races, 1):
    say(f"{number}/{len(races)}: {shape.size} {shape.core}")
    rows.append(race(racing, bench.suite, shape, bench.rounds, fresh=suite.fresh))
    for name, result in rows[-1].results.items():
      if "error" in result:
        say(f"  {name}: {result['error']}")
    _write(bench, report, rows)
  versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
  print(f"{report['cpu']}, {CORES} cores; {report['date']}; {versions}.")
  if (most := ceiling(suite, rows)) and suite.limit:
    print(f"The machine's best in this run: {most:.0f} {suite.limit.unit}.")
  tables = {
    **{"memory": memory.table, "loss": loss.table},
    **{"classify": classify.table, "resets": resets.table, "start": starts.table},
  }
  if bench.suite in together.SUITES:
    printed = together.table(suite, rows)
  else:
    printed = tables.get(bench.suite, functools.partial(table, suite))(rows)
  print(f"\n```sh\n{command}\n```\n\n{printed}")
  if bench.plot:
    memory.plot(rows, bench.plot)


def _shapes(bench: Bench, suite: Suite) -> list[Shape]:
  for cell in bench.cells:
    if cell not in suite.cells:
      raise BadInput(f"--cells={cell}: choose of {', '.join(suite.cells)}")
  cells = bench.cells or suite.cells
  if bench.grid:
    shapes = [_shape(size, cell) for size in bench.grid for cell in cells]
  else:
    shapes = [shape for shape in suite.rows if shape.cell in cells]
  if not shapes:
    raise BadInput(
      f"--cells={','.join(cells)}: --suite={bench.suite} has no such row of its own; "
      "give the shapes with --grid"
    )
  return [shape._replace(dtype=bench.dtype) for shape in shapes]


def _shape(size: str, cell: str) -> Shape:
  try:
    numbers = [int(number) for number in size.split("x")]
    if len(numbers) == 4:
      numbers.append(1)
    batch, steps, inputs, hidden, layers = numbers
    if min(numbers) < 1:
      raise ValueError
    shape = Shape(batch, steps, inputs, hidden, cell, layers)
  except ValueError:
    raise BadInput(
      f"--grid={size}: give whole numbers from 1 up as BxTxDxH, such as 32x64x128x512, "
      "or BxTxDxHxL for L layers"
    ) from None
  return shape


def _peers(bench: Bench, suite: Suite) -> list[str]:
  for name in bench.peers:
    if name not in suite.peers:
      allowed = f"choose of {', '.join(suite.peers)}" if suite.peers else "drop it"
      raise BadInput(
        f"--peers={name}: --suite={bench.suite} does not race it; {allowed}"
      )
    if importlib.util.find_spec(MODULES[name]) is None:
      raise BadInput(
        f"--peers={name}: {MODULES[name]} is not installed here; "
        "pip install -e '.[peers]' brings it"
      )
  return [name for name in suite.peers if name in bench.peers]


def _contestants(
  bench: Bench, suite: Suite, shape: Shape, peers: Sequence[str]
) -> list[Contestant]:
  if bench.suite == "memory":
    return [Contestant(plan, OURS, {"plan": plan}) for plan in memory.PLANS]
  devices = 1
  if suite.spread:
    wanted = bench.devices
    if wanted == "auto" and suite.devices:
      wanted = str(suite.devices)
    devices = named_count(wanted, shape.batch, shape.hidden, CORES)
  if bench.suite in ("loss", "resets"):
    return {"loss": loss, "resets": resets}[bench.suite].contestants(devices)
  if bench.suite in together.SUITES:
    return together.contestants(bench.suite, devices, CORES)
  if bench.suite == "compile":
    return [Contestant("compile", OURS, devices=devices)]
  if bench.suite == "start":
    return starts.contestants(peers)
  if bench.suite == "classify":
    return classify.contestants(devices, peers, bench.keep_memory)
  if bench.suite in translate.SUITES:
    return translate.contestants(devices, peers, bench.keep_memory)
  machine = [Contestant(MACHINE, MACHINE)] if suite.limit else []
  rivals = [
    # A plain scan is JAX's as well, and takes as many devices as ours.
    Contestant(name, name, {}, devices if name == "scan" else 1, bench.keep_memory)
    for name in peers
  ]
  return [*machine, Contestant(OURS, OURS, devices=devices), *rivals]


def _surroundings(bench: Bench, peers: Sequence[str]) -> dict[str, Any]:
  names = ["jax", "jaxlib", "flax"]
  others = [n for n in peers if MODULES[n].split(".")[0] not in ("jax", "flax")]
  known = {"haiku": "dm-haiku", "reservoirpy_jax": "reservoirpy"}
  names += sorted({known.get(n, n) for n in others})
  versions = {"python": platform.python_version()}
  versions |= {name: metadata.version(name) for name in names}
  return {
    "suite": bench.suite,
    "date": time.strftime("%Y-%m-%d"),
    "cpu": _cpu(),
    "cores": CORES,
    "versions": versions,
  }


def _cpu() -> str:
  about = Path("/proc/cpuinfo")
  found = about.exists() and re.search(r"model name\s*: (.*)", about.read_text())
  return found[1] if found else platform.processor() or platform.machine()


def _write(bench: Bench, report: dict[str, Any], rows: Sequence[Row]) -> None:
  if bench.out:
    plain = [{**row.shape._asdict(), "results": row.results} for row in rows]
    Path(bench.out).write_text(json.dumps({**report, "rows": plain}) + "\n")


PAGE = Page("bench", main, (Bench,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
