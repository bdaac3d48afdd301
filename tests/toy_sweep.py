"""A sweep whose trials end at once, in one process: all that its driver writes.

python -m tests.toy_sweep SWEEP_DIR
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from launch import driver, plan
from launch.main import run_main
from launch.space import Choice
from launch.study import Study

POINTS = [{"x": text} for text in ("1", "2", "3")]
PLAN = plan.Plan(
  experiment="tests.toy",
  fixed={},
  space={"x": Choice(tuple(point["x"] for point in POINTS))},
  points=POINTS,
  search="grid",
  trials=len(POINTS),
  seeds=[0],
  objective=["val/loss"],
  maximize=[False],
  prune=False,
  together=[],
  storage="",
  study="toy",
)


class Ended(NamedTuple):
  """A worker that has done its work."""

  def running(self) -> bool:
    return False

  def stop(self) -> None:
    pass


class Here:
  """An engine whose worker is this process.

  Args:
    folder: the sweep's.
  """

  def __init__(self, folder: plan.Folder):
    self._folder = folder

  def start(self, command: Sequence[str], log: Path) -> Ended:
    study = Study(PLAN, self._folder)
    for claim in study.claim("here", len(POINTS)):
      value = float(claim.values["x"])
      where = str(self._folder.run(claim.slot, 0).relative_to(self._folder.path))
      study.report(claim, value, 1)
      ran = {"seed": 0, "workdir": where, "summary": {"val/loss": value}}
      study.complete(claim, [value], [ran])
    return Ended()

  def close(self) -> None:
    pass


def main(arguments: Sequence[str]) -> None:
  """Runs the sweep."""
  folder = plan.Folder(Path(arguments[0]))
  chosen = folder.begin(PLAN)
  options = {"workers": 1, "cores": 1, "grace": 0.1, "tests": False}
  driver.drive(chosen, folder, Here(folder), **options)


if __name__ == "__main__":
  run_main(main)
