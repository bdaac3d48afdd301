"""Programs kept from one process to the next: found again, and never in the way."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from experiments.session.compilation import FOLDER, LIMIT
from experiments.session.programs import SUFFIX

ROOT = Path(__file__).parents[1]
# One program compiled; prints how many were found, how many were not, and its result.
PROGRAM = """
import collections, json
import jax, numpy as np
from experiments.session import compilation
compilation.keep()
events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event]))
result = jax.jit(lambda x: np.float32(2) * jax.numpy.sin(x @ x))(
  np.arange(9, dtype=np.float32).reshape(3, 3)
)
prefix = "/jax/compilation_cache/cache_"
print(json.dumps([
  events[prefix + "hits"], events[prefix + "misses"], np.asarray(result).tolist()
]))
"""


def python(*argv, data, cwd=ROOT, **options):
  """An interpreter of its own whose cache folder is `data`."""
  environment = {
    k: v for k, v in os.environ.items() if not k.startswith(("JAX", "XLA"))
  }
  environment |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "JAX_PLATFORMS": "cpu"}
  environment |= {"UNROLL_DATA": str(data), **options.pop("env", {})}
  return subprocess.run(
    [sys.executable, *argv],
    cwd=cwd,
    env=environment,
    capture_output=True,
    text=True,
    timeout=120,
    **options,
  )


def compiled(data, first="", said="", **options):
  """(programs found, programs not found, result); asserts what was said of it."""
  done = python("-c", f"{first}\n{PROGRAM}", data=data, **options)
  assert done.returncode == 0 and said in done.stderr, done.stderr
  assert done.stderr.count("\n") == bool(said), done.stderr
  return tuple(json.loads(done.stdout))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
  """What the program computes where nothing is kept."""
  found, missed, result = compiled(
    tmp_path_factory.mktemp("none"), env={"JAX_ENABLE_COMPILATION_CACHE": "false"}
  )
  assert found == missed == 0
  return result


@pytest.fixture(scope="module")
def filled(tmp_path_factory, result):
  """A cache folder that holds the program."""
  data = tmp_path_factory.mktemp("filled")
  assert compiled(data) == (0, 1, result)
  return data


@pytest.fixture
def data(filled, tmp_path):
  """A copy of it."""
  return Path(shutil.copytree(filled, tmp_path / "data"))


def entries(data):
  return sorted((data / FOLDER).glob("*/*-cache"))


def test_the_next_process_finds_what_one_compiled(data, result):
  [entry] = entries(data)
  assert entry.parent.stat().st_mode & 0o077 == 0
  assert compiled(data) == (1, 0, result)
  # Other flags make another program.
  flags = {"XLA_FLAGS": "--xla_cpu_enable_fast_min_max=true"}
  assert compiled(data, env=flags) == (0, 1, result)
  assert len(entries(data)) == 2


def test_a_program_is_for_a_number_of_cores(data, result):
  cores = os.sched_getaffinity(0)
  if len(cores) == 1:
    pytest.skip("needs two cores")
  alone = f"import os; os.sched_setaffinity(0, [{min(cores)}])"
  assert compiled(data, first=alone) == (0, 1, result)


def flip(data):
  half = len(data) // 2
  return data[:half] + bytes([data[half] ^ 4]) + data[half + 1 :]


DAMAGE = {
  "truncated": lambda data: data[: len(data) // 2],
  "flipped": flip,
  "another file": lambda data: b"PNG" * 1000,
}


@pytest.mark.parametrize("how", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_replaced(data, result, how):
  [entry] = entries(data)
  entry.write_bytes(how(entry.read_bytes()))
  assert compiled(data) == (0, 1, result)
  assert compiled(data) == (1, 0, result)


# No file may grow beyond so many bytes: what a full disk does to a write.
LIMIT_FILES = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
"""


def test_a_full_disk(tmp_path, result):
  assert compiled(tmp_path, first=LIMIT_FILES)[2] == result
  assert entries(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path, result):
  (tmp_path / "file").touch()
  assert compiled(tmp_path / "file") == (0, 0, result)


ANOTHER = "import os; own = os.getuid(); os.getuid = lambda: own + 1"


@pytest.mark.parametrize("whose", ["all", "group", "another's", "linked"])
def test_what_others_could_write_is_not_run(data, result, tmp_path, whose):
  [entry] = entries(data)
  folder, first = entry.parent, ""
  if whose == "linked":
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
  elif whose == "another's":
    first = ANOTHER
  else:
    folder.chmod(0o777 if whose == "all" else 0o770)
  said = f"{folder} is open to others: programs are not kept there"
  assert compiled(data, first=first, said=said) == (0, 0, result)
  assert entries(data) == [entry]


def test_the_folder_above_is_closed_to_others(data, result):
  (data / FOLDER).chmod(0o777)
  assert compiled(data) == (1, 0, result)
  assert (data / FOLDER).stat().st_mode & 0o777 == 0o700
  assert compiled(data, first=ANOTHER, said="is open to others") == (0, 0, result)


def test_a_place_of_the_users_own(tmp_path, result):
  env = {
    "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  assert compiled(tmp_path / "ours", env=env) == (0, 1, result)
  assert [*(tmp_path / "own").glob("*-cache")] and not (tmp_path / "ours").exists()


def test_the_oldest_make_room(data, result):
  [entry] = entries(data)
  now = time.time()
  for age in (1, 2, 3):
    with open(entry.with_name(f"jit_old-{age}-cache"), "wb") as file:
      file.truncate(LIMIT * 2 // 5)
    os.utime(file.name, (now - 100 * age,) * 2)
  assert compiled(data) == (1, 0, result)
  assert {path.name[:9] for path in entries(data)} == {
    *("jit_old-1", "jit_old-2", entry.name[:9])
  }


TINY = [
  *("--corpus=pydoc", "--hidden=8", "--embedding=8", "--layers=1", "--steps=3"),
  *("--batch=4", "--truncation=tbptt:8", "--split=0:999,999:1500", "--length=9"),
  "--json",
]


@pytest.mark.slow
def test_a_second_run_compiles_nothing_and_is_the_same(tmp_path):
  explain = {"JAX_EXPLAIN_CACHE_MISSES": "true"}
  states, missed, traced = [], [], []
  for name, *other in (["first"], ["second"], ["third", "--seed=1", "--eval_every=2"]):
    done = python(
      *("-m", "experiments.charlm", *TINY, f"--workdir={name}", *other),
      data=tmp_path / "data",
      cwd=tmp_path,
      env=explain,
    )
    assert done.returncode == 0, done.stderr
    missed.append(done.stderr.count("PERSISTENT COMPILATION CACHE MISS"))
    folder = tmp_path / "data" / FOLDER
    traced.append({path.name for path in folder.glob(f"*/*{SUFFIX}")})
    states.append(ocp.load(tmp_path / name / "checkpoints" / "3"))
    summary = json.loads(done.stdout.splitlines()[-1])
    assert 0 < summary["start_seconds"] < summary["seconds"]
  assert missed[0] > 5 and missed[1] == missed[2] == 0
  assert len(traced[0]) >= 4 and traced[0] == traced[1] == traced[2]
  for leaf, array in states[0].items():
    np.testing.assert_array_equal(array, states[1][leaf], err_msg=leaf, strict=True)


def test_what_training_does_not_need_is_not_imported(tmp_path):
  unwanted = {"matplotlib", "torch", "tensorflow", "pandas", "grain", "orbax"}
  code = f"import sys, experiments.charlm; print({unwanted} & sys.modules.keys())"
  done = python("-c", code, data=tmp_path)
  assert done.stdout == "set()\n", done.stdout + done.stderr
