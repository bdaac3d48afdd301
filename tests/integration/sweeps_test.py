"""Sweeps on real engines and storages, through deaths of all kinds.

The law of each: everything ends complete, nothing is run to its end twice, and nothing
is lost. The experiment is the one in miniature (tests/toy.py).
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from servers import Raylets, wait_until

# Ray forks where other tests may have started JAX; what it forks is another program.
pytestmark = [
  pytest.mark.integration,
  pytest.mark.filterwarnings("ignore:os.fork"),
]

ROOT = Path(__file__).parents[2]
SLOTS, STEPS = 4, 25
TOY = ["tests.toy", "--x=0,1,2,3", f"--steps={STEPS}", "--pause=0.1", "--workers=2"]
TOY += ["--grace=6"]


class Sweep:
  """A sweep under way.

  Args:
    path: its folder.
    *flags: the experiment, and the flags.
  """

  def __init__(self, path: Path, *flags: str):
    self.path = path
    command = [sys.executable, "-m", "launch.sweep", *flags, f"--sweepdir={path}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with open(path.with_suffix(".log"), "ab") as log:
      self.driver = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=log
      )

  def under_way(self) -> list[str]:
    """The runs that have saved something, and have not ended, once there are two."""

    def found() -> list[str]:
      return [
        state.parent.name
        for state in self.path.glob("runs/*/state.json")
        if 0 < json.loads(state.read_text())["step"] < STEPS
      ]

    return wait_until("two runs are under way", lambda: len(f := found()) > 1 and f)

  def workers(self) -> dict[str, int]:
    """The workers that live on this machine, and their processes."""
    names = [path.name for path in (self.path / "workers").iterdir()]
    return {name: int(name.split(".")[-2]) for name in names}

  def result(self) -> dict[str, Any]:
    """Waits for the end, and gives what `trials.json` says then."""
    assert self.driver.wait(120) == 0, self.path.with_suffix(".log").read_text()
    return json.loads((self.path / "trials.json").read_text())

  def check(self, attempts: Sequence[int]) -> None:
    """The law."""
    trials = self.result()["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * SLOTS
    assert sorted(trial["attempts"] for trial in trials) == sorted(attempts)
    ends = {p.parent.name: p.read_text() for p in self.path.glob("runs/*/ends")}
    assert ends == {f"{slot:04}-seed0": "end\n" for slot in range(SLOTS)}
    for metrics in self.path.glob("runs/*/metrics.jsonl"):
      steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
      assert steps == sorted(steps), metrics  # no two processes wrote side by side
      assert set(steps) == set(range(1, STEPS + 1)), metrics


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
  """Starts sweeps in one folder; those that are left are told to stop."""
  begun: list[Sweep] = []

  def begin(*flags: str) -> Sweep:
    begun.append(Sweep(tmp_path / "sweep", *flags))
    return begun[-1]

  yield begin
  for sweep in begun:
    sweep.driver.terminate()
    sweep.driver.wait(60)


def test_a_killed_node_s_trial_moves(start, raylets: Raylets) -> None:
  node = raylets.add()
  sweep = start(*TOY, "--on=ray", f"--address={raylets.address}")
  sweep.under_way()
  raylets.kill(node)
  sweep.check(attempts=[1, 1, 1, 2])


@pytest.mark.parametrize("how", ["kill", "scancel"])
def test_a_killed_job_s_trial_is_taken_up(slurm, start, tmp_path, how: str) -> None:
  sweep = start(*TOY, "--on=slurm", f"--storage={tmp_path / 'journal'}")
  sweep.under_way()
  name, process = next(iter(sweep.workers().items()))
  if how == "kill":
    os.kill(process, signal.SIGKILL)
  else:
    subprocess.run(["scancel", f"--name={name.partition('.')[0]}"], check=True)
  sweep.check(attempts=[1, 1, 1, 2])


def test_a_killed_worker_s_trial_is_taken_up(postgresql: str, start) -> None:
  sweep = start(*TOY, f"--storage={postgresql}")
  sweep.under_way()
  os.kill(next(iter(sweep.workers().values())), signal.SIGKILL)
  sweep.check(attempts=[1, 1, 1, 2])


def test_workers_of_slurm_outlive_their_driver(slurm, start, postgresql) -> None:
  flags = [*TOY, "--on=slurm", "--slurm=partition=main,time=5"]
  flags.append(f"--storage={postgresql}")
  sweep = start(*flags)
  sweep.under_way()
  sweep.driver.kill()
  sweep.driver.wait()
  start(*flags).check(attempts=[1] * SLOTS)


def test_workers_of_ray_end_with_their_driver(start, raylets: Raylets) -> None:
  node = raylets.add()
  flags = [*TOY, "--on=ray", f"--address={raylets.address}"]
  sweep = start(*flags)
  sweep.under_way()
  sweep.driver.kill()
  sweep.driver.wait()
  start(*flags).check(attempts=[1, 1, 2, 2])
  raylets.kill(node)
