"""The map is true: which room may import which, and what may stand in which file."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("experiments", "bench", "launch")
FILES = sorted(
  path.relative_to(ROOT)
  for folder in ("src", *TOP)
  for path in (ROOT / folder).rglob("*.py")
)


def mapped(text: str) -> Iterator[str]:
  """The rooms of WORKSPACE.md's map, from the first line to the last.

  A file or folder of `src/unroll/` is a room, as is a folder of code in `experiments/`;
  what else stands in a folder is one room, after those within it.
  """
  folder = ""
  for line in [*text.split("```")[1].splitlines(), "end/"]:
    indent, name = re.match(r"( *)(\S*)", line).groups()
    if not indent and name:
      if folder in TOP:
        yield folder
      folder = name.strip("/")
    elif folder == "src/unroll" and len(indent) == 2:
      yield name.removesuffix("/").removesuffix(".py")
    elif folder == "experiments" and list((ROOT / folder / name).glob("*.py")):
      yield f"experiments.{name.strip('/')}"


# A room imports from the rooms of earlier lines of the map, and of its own.
ROOMS = tuple(mapped((ROOT / "WORKSPACE.md").read_text("utf-8")))
FLOOR = {room: floor for floor, room in enumerate(ROOMS)}

# What launch may import of unroll: no JAX.
LIGHT = ("unroll.errors", "unroll.files", "unroll.records", "unroll.stops")


def room_of(module: str) -> str:
  """The room of a dotted name: `unroll.cells.lstm` -> `cells`."""
  parts = module.split(".")
  if parts[0] == "unroll" and len(parts) > 1:
    return parts[1]
  inner = ".".join(parts[:2])
  return inner if inner in FLOOR else parts[0]


def module_of(path: PurePath) -> str:
  """The dotted name of a file: `src/unroll/cells/lstm.py` -> `unroll.cells.lstm`."""
  parts = [part for part in path.with_suffix("").parts if part != "src"]
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: PurePath, source: str) -> Iterator[str]:
  """The dotted name of everything that a file imports, at its top or later."""
  package = (module_of(path) + ".x" * (path.stem == "__init__")).split(".")
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      above = package[: -node.level] if node.level else []
      base = [*above, *([node.module] if node.module else [])]
      yield from (".".join([*base, alias.name]) for alias in node.names)


def within(name: str, *modules: str) -> bool:
  return any(f"{name}.".startswith(f"{module}.") for module in modules)


def arrows_point_down(path: PurePath, source: str) -> Iterator[str]:
  own = room_of(module_of(path))
  if own == "unroll":  # the package's own face may show every room
    return
  if own not in FLOOR:
    yield f"is in the room {own}, which WORKSPACE.md's map has not yet"
    return
  for name in imports(path, source):
    room = room_of(name)
    if within(name, "unroll", *TOP):
      if FLOOR.get(room, len(ROOMS)) > FLOOR[own]:
        yield f"imports {name}, which is above {own}"
      if own == "launch" and within(name, "bench", "experiments"):
        yield f"imports {name}: launch reaches experiments by command line only"


def a_file_is_one_idea(path: PurePath, source: str) -> Iterator[str]:
  lines = source.count("\n")
  if lines > 320:
    yield f"has {lines} lines, more than 320"
  if path.stem in ("utils", "helpers", "misc", "common_utils"):
    yield "is named after nothing in particular"


def libraries_keep_to_their_rooms(path: PurePath, source: str) -> Iterator[str]:
  package, room = path.parts[0], room_of(module_of(path))
  for name in imports(path, source):
    if within(name, "absl.flags", "absl.app") and package == "src":
      yield f"imports {name}: flags are for experiments/, bench/ and launch/"
    if within(name, "orbax") and room != "checkpoint":
      yield f"imports {name}: orbax is known to checkpoint alone"
    if within(name, "unroll.cells") and room in ("train", "loop"):
      yield f"imports {name}: {room} knows no cell by name"


def time_is_scanned_in_its_room(path: PurePath, source: str) -> Iterator[str]:
  rooms = ("scan", "remat", "parallel", "gradients", "diagnose", "train", "generate")
  if path.parts[0] == "src" and room_of(module_of(path)) in rooms:
    return
  if path == PurePath("bench/libraries/scan.py"):  # which ours is raced against
    return
  if any(within(name, "jax.lax.scan") for name in imports(path, source)):
    yield "imports jax.lax.scan"
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Attribute) and ast.unparse(node).endswith("lax.scan"):
      yield f"line {node.lineno} calls lax.scan: the scan over time is scan.unroll"


def launch_starts_quickly(path: PurePath, source: str) -> Iterator[str]:
  if room_of(module_of(path)) != "launch":
    return
  for name in imports(path, source):
    heavy = within(name, "unroll") and not within(name, *LIGHT)
    if heavy or within(name, "jax", "flax"):
      yield f"imports {name}: launch does without JAX, and so starts in no time"
    if path.parts[:2] == ("launch", "study"):
      continue
    if within(name, "optuna", "cmaes", "numpy"):
      yield f"imports {name}: Optuna, and what it brings, are known to launch/study"


def nothing_is_unpickled(path: PurePath, source: str) -> Iterator[str]:
  for name in imports(path, source):
    if within(name, "pickle", "cloudpickle", "dill", "shelve", "joblib"):
      yield f"imports {name}: a pickle runs what its writer likes"
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
      yield f"line {node.value.lineno} names allow_pickle, which is off by itself"


DOOR = [
  PurePath(f"experiments/session/{n}.py") for n in ("door", "commandline", "front")
]
OF_TEXT = re.compile(r"vocabular|tokens?(?![a-z])|char(acter)?s?(?![a-z])|corpus", re.I)


def flags_are_read_at_the_door(path: PurePath, source: str) -> Iterator[str]:
  if path.parts[0] != "experiments" or path in DOOR:
    return
  if "FLAGS" in source or any(within(n, "absl") for n in imports(path, source)):
    yield "reads a flag: the door makes settings of them, which are passed on"


def the_trainer_knows_no_text(path: PurePath, source: str) -> Iterator[str]:
  if path.parts[:2] != ("experiments", "session"):
    return
  for number, line in enumerate(source.splitlines(), 1):
    if found := OF_TEXT.search(line):
      yield f"line {number} names {found[0]!r}: the trainer runs any task"


def functions_of_pages_are_short(path: PurePath, source: str) -> Iterator[str]:
  if path.parts[0] != "experiments":
    return
  for node in ast.walk(ast.parse(source)):
    if not isinstance(node, ast.FunctionDef):
      continue
    lines = (node.end_lineno or 0) - node.lineno + 1
    if lines > 60:
      yield f"line {node.lineno}: {node.name} has {lines} lines, more than 60"


def what_is_public_is_documented(path: PurePath, source: str) -> Iterator[str]:
  tree = ast.parse(source)
  if source.strip() and not ast.get_docstring(tree):
    yield "has no docstring"
  for node in tree.body:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
      continue
    if not node.name.startswith("_") and not ast.get_docstring(node):
      yield f"line {node.lineno}: {node.name} has no docstring"


Law = Callable[[PurePath, str], Iterator[str]]

# Each law, with files that break it.
LAWS: dict[Law, tuple[tuple[str, str], ...]] = {
  arrows_point_down: (
    ("src/unroll/types.py", "from unroll.linear import product"),
    ("src/unroll/types.py", "def f():\n  from unroll import scan"),
    ("src/unroll/cells/lstm.py", "from .. import compose"),
    ("src/unroll/cells/__init__.py", "from ..layers import stacked"),
    ("src/unroll/scan.py", "import unroll.train as t"),
    ("src/unroll/train.py", "from experiments import charlm"),
    ("src/unroll/train.py", "from unroll import BadInput"),
    ("src/unroll/attic.py", "from unroll.types import Cell"),
    ("launch/sweep.py", "import experiments.charlm"),
    ("experiments/session/task.py", "from experiments.parts import text"),
    ("experiments/session/task.py", "from experiments import charlm"),
  ),
  a_file_is_one_idea: (
    ("src/unroll/scan.py", "\n" * 321),
    ("experiments/utils.py", ""),
    ("src/unroll/cells/helpers.py", ""),
  ),
  libraries_keep_to_their_rooms: (
    ("src/unroll/train.py", "from absl import flags"),
    ("src/unroll/optim.py", "import absl.flags"),
    ("src/unroll/train.py", "from orbax.checkpoint import v1 as ocp"),
    ("experiments/charlm.py", "import orbax.checkpoint"),
    ("src/unroll/train.py", "from unroll.cells import CELLS"),
    ("src/unroll/train.py", "from .cells.lstm import lstm"),
  ),
  time_is_scanned_in_its_room: (
    ("src/unroll/layers.py", "jax.lax.scan(f, carry, xs)"),
    ("src/unroll/models/tagger.py", "lax.scan(f, carry, xs)"),
    ("experiments/charlm.py", "from jax.lax import scan"),
    ("experiments/train.py", "loop = jax.lax.scan"),
    ("bench/libraries/unroll.py", "jax.lax.scan(f, carry, xs)"),
  ),
  launch_starts_quickly: (
    ("launch/sweep.py", "import jax"),
    ("launch/sweep.py", "from unroll.types import BadInput"),
    ("launch/sweep.py", "import optuna"),
    ("launch/worker.py", "import numpy as np"),
    ("launch/study/storage.py", "import jax"),
  ),
  nothing_is_unpickled: (
    ("src/unroll/data/text.py", "import pickle"),
    ("launch/sweep.py", "from cloudpickle import dumps"),
    ("experiments/charlm.py", "np.load(file, allow_pickle=True)"),
  ),
  flags_are_read_at_the_door: (
    ("experiments/charlm.py", "from absl import flags"),
    ("experiments/session/task.py", "batch = FLAGS.batch"),
  ),
  the_trainer_knows_no_text: (
    ("experiments/session/task.py", "class Task:\n  vocabulary: Vocabulary"),
    ("experiments/session/task.py", "speed = 'tokens / s'"),
    ("experiments/session/conclusion.py", "print('bits per character')"),
  ),
  functions_of_pages_are_short: (
    ("experiments/charlm.py", "def main():\n" + "  pass\n" * 60),
  ),
  what_is_public_is_documented: (
    ("src/unroll/scan.py", "import jax"),
    ("src/unroll/scan.py", "'Scan.'\ndef unroll(): pass"),
    ("launch/sweep.py", "'Sweep.'\nclass Grid: pass"),
  ),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_file_keeps_the_law(law: Law) -> None:
  complaints = [
    f"{path} {complaint}"
    for path in FILES
    for complaint in law(path, (ROOT / path).read_text(encoding="utf-8"))
  ]
  assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
  ("law", "path", "source"),
  [(law, *offence) for law, offences in LAWS.items() for offence in offences],
)
def test_an_offence_is_seen(law: Law, path: str, source: str) -> None:
  assert list(law(PurePath(path), source))


def test_the_files_are_found() -> None:
  assert PurePath("src/unroll/types.py") in FILES


def test_every_room_of_the_map_is_there() -> None:
  rooms = {room_of(module_of(path)) for path in FILES} - {"unroll"}
  assert set(ROOMS) == rooms
