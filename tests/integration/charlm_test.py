"""A real experiment on real engines: swept, and trained by two processes together."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import environment

# Ray forks where other tests may have started JAX; what it forks is another program.
pytestmark = [
  pytest.mark.integration,
  pytest.mark.filterwarnings("ignore:os.fork"),
]

ROOT = Path(__file__).parents[2]
CHARLM = ["experiments.charlm", "--hidden=8", "--steps=4", "--batch=4"]
CHARLM += ["--truncation=tbptt:8", "--split=[0.8,0.1,0.1]"]


@pytest.fixture(params=["ray", "slurm"])
def where(request: pytest.FixtureRequest) -> Iterator[list[str]]:
  """The flags of an engine with two nodes."""
  if request.param == "slurm":
    request.getfixturevalue("slurm")
    yield ["--on=slurm", "--slurm=partition=main,time=5"]
  else:
    cluster = request.getfixturevalue("raylets")
    node = cluster.add()
    yield ["--on=ray", f"--address={cluster.address}"]
    cluster.kill(node)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
  compiled = str(tmp_path_factory.mktemp("compiled"))
  with environment(JAX_COMPILATION_CACHE_DIR=compiled, JAX_PLATFORMS="cpu"):
    yield


def run(module: str, *flags: str) -> str:
  """What a command prints, of which nothing goes wrong."""
  done = subprocess.run(
    [sys.executable, "-m", module, *flags],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    capture_output=True,
    text=True,
    timeout=180,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def test_it_is_swept(where: list[str], tmp_path: Path) -> None:
  path = tmp_path / "sweep"
  run("launch.sweep", *CHARLM, "--cell=rnn,gru", *where, f"--sweepdir={path}")
  result = json.loads((path / "trials.json").read_text())
  assert [trial["state"] for trial in result["trials"]] == ["complete"] * 2
  assert [trial["params"]["cell"] for trial in result["trials"]] == ["rnn", "gru"]
  for trial in result["trials"]:
    [ran] = trial["runs"]
    assert ran["summary"]["finished"] and ran["summary"]["steps"] == 4
    assert (path / ran["workdir"] / "checkpoints" / "4").is_dir()
  assert result["chosen"]["test"].keys() >= {"test/bits_per_char"}


def test_two_processes_train_it(where: list[str], tmp_path: Path) -> None:
  path = tmp_path / "run"
  flags = [*CHARLM[:-1], f"--workdir={path}", "--json"]
  summary = json.loads(run("launch.train", *flags, *where).splitlines()[-1])
  assert summary["finished"] and summary["workdir"] == str(path)
  assert (path / "checkpoints" / "4").is_dir()
