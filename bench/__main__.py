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
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import flags

from bench import loss, memory, together
from bench.race import Contestant, Row, race
from bench.shapes import Shape
from bench.suites import CELLS, DEFAULT, MODULES, SUITES, Suite
from bench.table import MACHINE, OURS, ceiling, table
from bench.timing import CORES
from experiments.session import common, kinds
from unroll.devices import named_count
from unroll.types import BadInput

FLAGS = flags.FLAGS
SHARED = ("devices", "dtype")  # with experiments that train
for name in SHARED:
  flags.declare_key_flag(name)

STARTS = (
  Contestant("first step, cold", "start", {"cached": False}),
  Contestant("first step, cached", "start", {"cached": True}),
)

flags.DEFINE_enum("suite", "layer", list(SUITES), "what is measured")
flags.DEFINE_list("peers", [], f"libraries to race: {', '.join(MODULES)}")
flags.DEFINE_list("grid", [], "BxTxDxH[xL],…: other shapes than the suite's own")
flags.DEFINE_list("cells", [], f"of {', '.join(CELLS)}; all if empty")
flags.DEFINE_bool(
  "keep_memory", True, "whether peers keep the memory that they free, as we do"
)
flags.DEFINE_integer("rounds", 5, "how often each library has its turn", lower_bound=1)
kinds.DEFINE_path("plot", "", "a PNG of --suite=memory: memory and time against T")
kinds.DEFINE_path("out", "", "a JSON file for all that was measured")


def main() -> None:
  """Measures a suite, prints its table and writes its figures."""
  _refuse_flags_of_training()
  if FLAGS.plot and FLAGS.suite != "memory":
    raise BadInput(f"--plot is for --suite=memory, not {FLAGS.suite}: drop it")
  if not (FLAGS.keep_memory or FLAGS.peers):
    raise BadInput("--nokeep_memory is for the peers: name some with --peers")
  if (FLAGS.grid or FLAGS.cells) and FLAGS.suite == "loss":
    raise BadInput(
      "--grid and --cells: the rows of --suite=loss differ in vocabulary; drop them"
    )
  suite = SUITES[FLAGS.suite]
  if FLAGS["devices"].present and not suite.spread:
    raise BadInput(f"--devices: --suite={FLAGS.suite} runs on one of them; drop it")
  peers = _peers(suite)
  for name in (OURS, *peers):
    if FLAGS.dtype != "float32" and name not in suite.mixed:
      raise BadInput(
        f"--dtype={FLAGS.dtype}: --suite={FLAGS.suite} measures {name} in float32 "
        "only; drop --dtype"
      )
  races = [(shape, _contestants(suite, shape, peers)) for shape in _shapes(suite)]
  command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
  report = {"command": command, **_surroundings(peers)}
  rows: list[Row] = []
  _write(report, rows)  # a path that cannot be written is better known now
  for number, (shape, racing) in enumerate(races, 1):
    common.say(f"{number}/{len(races)}: {shape.size} {shape.core}")
    rows.append(race(racing, FLAGS.suite, shape, FLAGS.rounds, fresh=suite.fresh))
    for name, result in rows[-1].results.items():
      if "error" in result:
        common.say(f"  {name}: {result['error']}")
    _write(report, rows)
  versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
  print(f"{report['cpu']}, {CORES} cores; {report['date']}; {versions}.")
  if (most := ceiling(suite, rows)) and suite.limit:
    print(f"The machine's best in this run: {most:.0f} {suite.limit.unit}.")
  tables = {"memory": memory.table, "loss": loss.table}
  if FLAGS.suite in together.SUITES:
    printed = together.table(suite, rows)
  else:
    printed = tables.get(FLAGS.suite, functools.partial(table, suite))(rows)
  print(f"\n```sh\n{command}\n```\n\n{printed}")
  if FLAGS.plot:
    memory.plot(rows, FLAGS.plot)


def _refuse_flags_of_training() -> None:
  for flag in FLAGS.flags_by_module_dict()[common.__name__]:
    if flag.present and flag.name not in SHARED:
      raise BadInput(
        f"--{flag.name} is for experiments that train, and the bench does not read "
        "it: see --help"
      )


def _shapes(suite: Suite) -> list[Shape]:
  for cell in FLAGS.cells:
    if cell not in CELLS:
      raise BadInput(f"--cells={cell}: choose of {', '.join(CELLS)}")
  cells = FLAGS.cells or CELLS
  if FLAGS.grid:
    shapes = [_shape(size, cell) for size in FLAGS.grid for cell in cells]
  else:
    shapes = [shape for shape in suite.rows if shape.cell in cells]
  if not shapes:
    raise BadInput(
      f"--cells={','.join(cells)}: --suite={FLAGS.suite} has no such row of its own; "
      "give the shapes with --grid"
    )
  return [shape._replace(dtype=FLAGS.dtype) for shape in shapes]


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


def _peers(suite: Suite) -> list[str]:
  for name in FLAGS.peers:
    if name not in suite.peers:
      allowed = f"choose of {', '.join(suite.peers)}" if suite.peers else "drop it"
      raise BadInput(
        f"--peers={name}: --suite={FLAGS.suite} does not race it; {allowed}"
      )
    if importlib.util.find_spec(MODULES[name]) is None:
      raise BadInput(
        f"--peers={name}: {MODULES[name]} is not installed here; "
        "pip install -e '.[peers]' brings it"
      )
  return [name for name in suite.peers if name in FLAGS.peers]


def _contestants(suite: Suite, shape: Shape, peers: Sequence[str]) -> list[Contestant]:
  if FLAGS.suite == "memory":
    return [Contestant(plan, OURS, {"plan": plan}) for plan in memory.PLANS]
  devices = 1
  if suite.spread:
    devices = named_count(FLAGS.devices, shape.batch, shape.hidden, CORES)
  if FLAGS.suite == "loss":
    return loss.contestants(devices)
  if FLAGS.suite in together.SUITES:
    return together.contestants(FLAGS.suite, devices, CORES)
  if FLAGS.suite == "compile":
    compile = Contestant("compile", OURS, devices=devices)
    return [compile, *STARTS] if shape == DEFAULT else [compile]
  machine = [Contestant(MACHINE, MACHINE)] if suite.limit else []
  rivals = [Contestant(name, name, keeps=FLAGS.keep_memory) for name in peers]
  return [*machine, Contestant(OURS, OURS, devices=devices), *rivals]


def _surroundings(peers: Sequence[str]) -> dict[str, Any]:
  names = ["jax", "jaxlib", "flax"]
  names += [{"haiku": "dm-haiku"}.get(n, n) for n in peers if n not in ("linen", "nnx")]
  versions = {"python": platform.python_version()}
  versions |= {name: metadata.version(name) for name in names}
  return {
    "suite": FLAGS.suite,
    "date": time.strftime("%Y-%m-%d"),
    "cpu": _cpu(),
    "cores": CORES,
    "versions": versions,
  }


def _cpu() -> str:
  about = Path("/proc/cpuinfo")
  found = about.exists() and re.search(r"model name\s*: (.*)", about.read_text())
  return found[1] if found else platform.processor() or platform.machine()


def _write(report: dict[str, Any], rows: Sequence[Row]) -> None:
  if FLAGS.out:
    plain = [{**row.shape._asdict(), "results": row.results} for row in rows]
    Path(FLAGS.out).write_text(json.dumps({**report, "rows": plain}) + "\n")


if __name__ == "__main__":
  common.run_main(main)
