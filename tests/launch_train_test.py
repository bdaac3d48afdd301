"""Gangs on this machine: of processes in miniature (tests/toy_gang.py), and real."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TOY = ("tests.toy_gang",)


def start(cwd: Path, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
  paths = f"{ROOT / 'src'}:{ROOT}"
  return subprocess.Popen(
    [sys.executable, "-m", "launch.train", *arguments],
    cwd=cwd,
    env={**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    **options,
  )


def train(cwd: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
  """Runs a gang to its end; what it printed, and its errors."""
  child = start(cwd, *arguments)
  output, errors = child.communicate(timeout=300)
  assert child.returncode == code, output + errors
  return output, errors


def wait(condition: Callable[[], Any], seconds: float = 30) -> None:
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


def steps(run: Path) -> list[int]:
  return sorted(int(path.name) for path in run.glob("checkpoints/[0-9]*"))


def attempts(run: Path) -> list[str]:
  return sorted(path.name for path in (run / "gang").iterdir())


def said(run: Path, process: int) -> dict[str, Any]:
  return json.loads((run / f"process-{process}").read_text())


def test_a_gang_runs_to_its_end(tmp_path: Path) -> None:
  output, errors = train(tmp_path, *TOY, "--workdir=run")
  assert json.loads(output) == {"steps": 8, "finished": True}
  assert errors == "from step 0\n"
  assert attempts(tmp_path / "run") == ["1"]
  # The cores are shared out, where there are enough.
  cores = sorted(os.sched_getaffinity(0))
  told = [said(tmp_path / "run", process) for process in (0, 1)]
  if len(cores) >= 4:
    assert sorted(told[0]["cores"] + told[1]["cores"]) == cores
  else:
    assert [share["cores"] for share in told] == [cores] * 2
  if len(cores) in (2, 3):
    assert "1" in [share["count"] for share in told]


def test_a_gang_that_loses_one_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
  (tmp_path / "run" / "checkpoints" / "7").mkdir(parents=True)
  (tmp_path / "run" / "config.json").touch()
  flags = ("--workdir=run", "--overwrite", "--kind=mortal")
  output, errors = train(tmp_path, *TOY, *flags)
  assert json.loads(output)["finished"] and steps(tmp_path / "run") == [*range(1, 9)]
  begun = [line for line in errors.splitlines() if line.startswith("from")]
  assert begun == ["from step 0", "from step 4"]  # and overwrites no second time
  assert "process 1 ended with exit code 137; starting again from step 4" in errors
  assert attempts(tmp_path / "run") == ["1", "2"]


def test_a_gang_that_gets_nowhere_gives_up(tmp_path: Path) -> None:
  flags = ("--workdir=run", "--kind=dead")
  _, errors = train(tmp_path, "--restarts=1", *TOY, *flags, code=1)
  last = errors.splitlines()[-1]
  assert last.startswith("error: ") and "process 1 ended with exit code 137" in last
  assert "2 attempts in a row" in last and attempts(tmp_path / "run") == ["1", "2"]


@pytest.mark.parametrize("there", [False, True])
def test_bad_input_of_one_ends_all_and_leaves_nothing(
  tmp_path: Path, there: bool
) -> None:
  if there:
    (tmp_path / "a" / "run").mkdir(parents=True)
    (tmp_path / "a" / "run" / "notes.txt").touch()
  before = sorted(tmp_path.rglob("*"))
  began = time.monotonic()
  _, errors = train(tmp_path, *TOY, "--workdir=a/run", "--kind=bad", code=2)
  assert errors == "error: --kind=bad is not good: choose another\n"
  assert sorted(tmp_path.rglob("*")) == before
  assert time.monotonic() - began < 15


REFUSED = [
  ([], "what is to be trained comes first"),
  (["--workdir=run"], "what is to be trained comes first"),
  (["--processes=0", *TOY], "processes"),
  (["--on=moon", *TOY], "--on=moon"),
  ([*TOY, "--workdir=file/run"], "--workdir=file/run cannot be made"),
]


@pytest.mark.parametrize("arguments, words", REFUSED)
def test_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
  (tmp_path / "file").touch()
  _, errors = train(tmp_path, *arguments, code=2)
  assert errors.startswith("error: ") and words in errors
  assert [path.name for path in tmp_path.iterdir()] == ["file"]


def gone(run: Path) -> bool:
  """Whether none of the gang's processes lives."""
  pids = [said(run, process)["pid"] for process in (0, 1)]
  return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def at_a_terminal(child: "subprocess.Popen[str]", number: int) -> None:
  """Ctrl-C reaches all processes of the foreground, as the end of a terminal does."""
  os.killpg(child.pid, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_stops_all_with_a_checkpoint(tmp_path: Path, number: int) -> None:
  run = tmp_path / "run"
  flags = ("--workdir=run", "--steps=200", "--pause=0.1")
  child = start(tmp_path, *TOY, *flags, process_group=0)
  wait(lambda: len(steps(run)) > 2)
  at_a_terminal(child, number)
  output, errors = child.communicate(timeout=30)
  assert child.returncode == 0 and gone(run), errors
  assert errors == "from step 0\n"
  ended = json.loads(output)
  assert not ended["finished"] and ended["steps"] == steps(run)[-1]
  _, errors = train(tmp_path, *TOY, "--workdir=run", f"--steps={ended['steps'] + 1}")
  assert errors == f"from step {ended['steps']}\n"


def test_ctrl_c_twice_ends_all_at_once(tmp_path: Path) -> None:
  run = tmp_path / "run"
  flags = ("--workdir=run", "--steps=200", "--pause=3")
  child = start(tmp_path, *TOY, *flags, process_group=0)
  wait(lambda: all((run / f"process-{process}").exists() for process in (0, 1)))
  for _ in range(3):
    at_a_terminal(child, signal.SIGINT)
    time.sleep(0.3)
  _, errors = child.communicate(timeout=30)
  # The third may come while the interpreter ends, which it then does at once.
  assert child.returncode in (130, -signal.SIGINT), errors
  assert "Traceback" not in errors
  assert errors.splitlines()[-1].startswith("error: interrupted; the same command")
  wait(lambda: gone(run), 5)


def test_no_process_outlives_the_driver(tmp_path: Path) -> None:
  run = tmp_path / "run"
  child = start(tmp_path, *TOY, "--workdir=run", "--steps=200", "--pause=0.1")
  wait(lambda: len(steps(run)) > 2)
  child.kill()
  child.communicate()
  wait(lambda: gone(run))


# With a real experiment.

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "Spain"]
REAL = [
  *("experiments.charlm", "--corpus=book.txt", "--hidden=8", "--layers=1"),
  *("--embedding=4", "--batch=4", "--truncation=tbptt:8", "--eval_every=60"),
  *("--checkpoint_every=20", "--dispatch=4", "--length=10", "--dropout=0.3", "--json"),
]
TIMES = {"seconds", "start_seconds", "tokens_per_second"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
  draw = random.Random(0)
  text = "".join(draw.choice(WORDS) + draw.choice("  ,.\n") for _ in range(600))
  (tmp_path / "book.txt").write_text(text, "utf-8")
  return tmp_path


def records(run: Path) -> list[dict[str, Any]]:
  """The lines of the log, but for the times."""
  lines = (run / "metrics.jsonl").read_text().splitlines()
  stripped = ({k: v for k, v in json.loads(x).items() if k not in TIMES} for x in lines)
  return [record for record in stripped if record.keys() > {"step"}]


def experiment(run: Path, process: int) -> int:
  """The pid of a process of the newest attempt's experiment."""
  flag = f"--process={process}".encode()
  for path in Path("/proc").glob("[0-9]*/cmdline"):
    try:
      words = path.read_bytes().split(b"\0")
    except OSError:
      continue
    if flag in words and f"--workdir={run.name}".encode() in words:
      return int(path.parent.name)
  raise AssertionError("no such process")


@pytest.mark.integration
@pytest.mark.parametrize("victim", [0, 1])
def test_a_real_gang_that_loses_one_ends_as_if_it_had_not(
  folder: Path, victim: int
) -> None:
  flags = [*REAL, "--steps=180"]
  train(folder, *flags, "--workdir=whole")
  child = start(folder, *flags, "--workdir=cut")
  wait(lambda: 40 in steps(folder / "cut"), 120)
  os.kill(experiment(folder / "cut", victim), signal.SIGKILL)
  output, errors = child.communicate(timeout=300)
  assert child.returncode == 0, output + errors
  assert "starting again from step" in errors and "resumed cut at step" in errors
  assert json.loads(output.splitlines()[-1])["finished"]
  assert records(folder / "cut") == records(folder / "whole")
  assert attempts(folder / "cut") == ["1", "2"]


@pytest.mark.integration
def test_ctrl_c_saves_a_real_gang_which_goes_on_alone(folder: Path) -> None:
  flags = [*REAL, "--steps=180"]
  child = start(folder, *flags, "--workdir=run")
  wait(lambda: steps(folder / "run"), 120)
  child.send_signal(signal.SIGINT)
  output, errors = child.communicate(timeout=120)
  assert child.returncode == 0 and "Traceback" not in errors, errors
  ended = json.loads(output.splitlines()[-1])
  assert not ended["finished"] and steps(folder / "run")[-1] == ended["steps"]
  output, errors = train(folder, "--processes=1", *flags, "--workdir=run")
  assert f"resumed run at step {ended['steps']}" in errors
  assert json.loads(output.splitlines()[-1])["finished"]


@pytest.mark.integration
def test_bad_flags_of_a_real_gang_are_refused_at_once(folder: Path) -> None:
  before = sorted(folder.rglob("*"))
  for flag in ("--dropout=2", "--cell=lstn", "--batch=5", "--devices=3"):
    began = time.monotonic()
    _, errors = train(folder, *REAL, "--workdir=run", flag, code=2)
    assert [flag[:6] in line for line in errors.splitlines()] == [True], errors
    assert time.monotonic() - began < 60 and sorted(folder.rglob("*")) == before
