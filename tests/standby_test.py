"""A process that runs one trial after another: each as if it were alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments import charlm, memory
from experiments.session import output, prepared
from experiments.session.settings import Settings
from launch import run
from launch.standby import Standby, serves
from unroll import devices, load

SMALL = ["--corpus=pydoc", "--steps=6", "--layers=1", "--batch=8", "--length=20"]
SMALL += ["--truncation=tbptt:16", "--eval_every=3", "--json", "--devices=1"]


class Data:
  """What identifies a task."""

  def __init__(self, digest: str):
    self.data, self.model, self.files, self.splits = digest, "language", {}, {}


def test_only_pages_are_served() -> None:
  assert serves("experiments.charlm") and serves("experiments.tag")
  assert not serves("tests.toy") and not serves("json") and not serves("no.such")
  assert not serves("sys")


def test_runs_that_differ_in_what_an_arm_has_share_their_programs() -> None:
  def get(digest: str = "a", page: Any = charlm, **values: Any) -> Any:
    settings = Settings.of(page.PAGE, **values)
    return prepared.prepared(settings, Data(digest), object)  # type: ignore

  assert get() is not get()  # nothing is kept
  with prepared.keeping(2):
    first = get(seed=1)
    others = {"seed": 2, "learning_rate": 0.5, "clip_norm": 3.0, "workdir": "b"}
    assert get(**others) is first
    assert get("b") is not first  # the data have changed
    assert get(seed=3) is first
    assert get(hidden=7) is not first
    assert get(seed=1) is first
    get(page=memory), get(hidden=8)
    assert get(seed=1) is not first  # two kinds are kept
  assert get(seed=1) is not first


def test_devices_that_are_settled_are_told() -> None:
  here = jax.device_count()
  assert devices.divide("1", 4 * here, 8) == 1
  with devices.alike():
    if here != 1:
      with pytest.raises(devices.Settled):
        devices.divide("1", 4 * here, 8)


def numbers(path: Path) -> list[dict[str, Any]]:
  """The records of a run but for its times."""
  lines = (path / "metrics.jsonl").read_text().splitlines()
  timed = {"seconds", "start_seconds", "tokens_per_second"}
  records = [json.loads(line) for line in lines]
  return [{k: v for k, v in r.items() if k not in timed} for r in records]


@pytest.mark.slow
def test_a_trial_has_the_numbers_that_it_has_alone(tmp_path: Path) -> None:
  trials = [
    ["--hidden=12", "--seed=1"],
    ["--hidden=12", "--seed=2", "--learning_rate=0.02", "--clip_norm=0"],
    ["--hidden=9", "--cell=gru"],
    ["--hidden=12", "--seed=1", "--learning_rate=0.004"],
  ]
  standby, log = Standby("experiments.charlm"), tmp_path / "log"
  for number, flags in enumerate(trials):
    for name, once in (
      ("warm", standby.once),
      ("cold", lambda f: run.process([sys.executable, "-m", "experiments.charlm", *f])),
    ):
      path = tmp_path / f"{name}{number}"
      ended = once([*SMALL, *flags, f"--workdir={path}"])(log, lambda: False)
      assert ended.code == 0, log.read_text()
      assert json.loads(ended.text.splitlines()[-1])["finished"]
    warm, cold = tmp_path / f"warm{number}", tmp_path / f"cold{number}"
    assert numbers(warm) == numbers(cold)
    assert (warm / "sample.txt").read_text() == (cold / "sample.txt").read_text()
    jax.tree.map(np.testing.assert_array_equal, load(warm).params, load(cold).params)
  # A wrong flag harms nothing, and what was not said is by default again.
  ended = standby.once(["--hidden=none"])(log, lambda: False)
  assert ended.code == run.BAD_INPUT and "hidden" in log.read_text().splitlines()[-1]
  path = tmp_path / "again"
  ended = standby.once([*SMALL, "--hidden=12", f"--workdir={path}"])(log, lambda: False)
  assert ended.code == 0
  config = json.loads((path / "config.json").read_text())["flags"]
  assert (config["cell"], config["learning_rate"]) == ("lstm", 0.002)
  standby.close()


@pytest.mark.slow
def test_a_killed_process_loses_its_run_alone(tmp_path: Path) -> None:
  standby, log = Standby("experiments.charlm"), tmp_path / "log"
  flags = [*SMALL, "--hidden=8"]
  path = tmp_path / "first"
  assert standby.once([*flags, f"--workdir={path}"])(log, lambda: False).code == 0
  child = standby._child
  assert child

  def kill() -> bool:
    if (tmp_path / "second" / "config.json").exists():
      os.kill(child.pid, signal.SIGKILL)
    return False

  long = [*flags, "--steps=100000", f"--workdir={tmp_path / 'second'}"]
  assert standby.once(long)(log, kill).code == -signal.SIGKILL
  # Asked to stop, a run saves, and the process waits for the next.
  path = tmp_path / "third"
  metrics = path / "metrics.jsonl"  # empty until the run heeds what asks it to stop
  ended = standby.once([*flags, "--steps=100000", f"--workdir={path}"])(
    log, lambda: metrics.exists() and metrics.stat().st_size > 0
  )
  assert ended.stopped and ended.code == 0 and "interrupted" in log.read_text()
  assert list((path / "checkpoints").iterdir())
  before = standby._child
  assert (
    standby.once([*flags, f"--workdir={tmp_path / 'x'}"])(log, lambda: False).code == 0
  )
  assert standby._child is before and before
  # With the process that it works for it ends.
  standby.close()
  assert before.poll() is not None


@pytest.mark.slow
def test_the_process_ends_with_its_input(tmp_path: Path) -> None:
  command = [sys.executable, "-m", "experiments.session.standby", "experiments.memory"]
  done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=-1, check=True)
  assert done.stdout == b""


def test_a_full_disk_harms_one_run_alone(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  """What could not be written stands in the stream, which the next run has too."""
  with open("/dev/full", "w") as full, open(tmp_path / "out", "w") as file:
    stream = output.Stream(full)
    monkeypatch.setattr(sys, "stdout", stream)
    print("lost")
    assert stream.error
    output.renew()
    stream._stream = file
    print("said")
  assert (tmp_path / "out").read_text() == "said\n" and stream.error is None


ONE_ANSWER = """
import json, pathlib, sys
asked = json.loads(sys.stdin.readline())
pathlib.Path(asked["output"]).write_text(str(asked["flags"]))
print('{"code": 0}', flush=True)
sys.stdin.readline()  # it ends, and what it was asked last is lost
"""


def test_a_run_that_a_process_ends_before_is_run_by_another(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  (tmp_path / "one_answer.py").write_text(ONE_ANSWER)
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  monkeypatch.setattr("launch.standby.SERVER", "one_answer")
  standby, log = Standby("x"), tmp_path / "log"
  for number in range(3):
    ended = standby.once([f"--n={number}"])(log, lambda: False)
    assert ended == run.Ended(0, f"['--n={number}']", False)
  standby.close()
