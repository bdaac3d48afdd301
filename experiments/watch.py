"""Runs while they are trained, in a terminal: losses as lines of bars, time left.

  python -m experiments.watch --workdir=RUN
  python -m experiments.watch --workdir=runs/charlm --every=5
  python -m experiments.watch --workdir=runs/sweeps/20261130-101500-a1b2

RUN is the folder of a run of any page, or a folder of such folders, at any depth. Of a
sweep the best trials are a table, above the runs that are at work. It only reads, so
that it can be started and stopped at any time, also on another machine that sees the
folder.
"""

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.session import door
from experiments.session.settings import Page, Settings
from unroll import stops
from unroll.loading import CONFIG, configuration
from unroll.records import METRICS, Tail
from unroll.report import sweeps
from unroll.report.terminal import Watched
from unroll.settings import setting
from unroll.types import BadInput

CLEAR = "\x1b[H\x1b[J"  # the terminal's, from its upper left corner on
DEPTH = 4  # folders below the one given, in which runs are looked for


@dataclass(frozen=True)
class Watch:
  """Watching"""

  workdir: str = setting(
    "", "the folder of a run, or of several", kind="path", role="call"
  )
  every: float = setting(2.0, "seconds between two looks", least=0.1, role="call")
  once: bool = setting(False, "looks once, and ends", role="call")


class Run:
  """A run that is watched."""

  def __init__(self, path: Path):
    self.path, self._tail = path, Tail(path / METRICS)
    self.watched = Watched(configuration(path)["flags"])

  def look(self) -> None:
    """Reads what was written since the last look."""
    self.watched.add(self._tail.new())


def main(settings: Settings) -> None:
  """Shows the runs until Ctrl-C."""
  chosen, runs = settings[Watch], dict[Path, Run]()
  if not chosen.workdir:
    raise BadInput("give `workdir`, the folder of a run, or of several")
  with stops.collected() as asked:
    while not asked:
      _look(chosen, runs)
      if chosen.once:
        return
      until = time.monotonic() + chosen.every
      while not asked and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def _look(chosen: Watch, runs: dict[Path, Run]) -> None:
  """Shows what has come, and runs that have begun since."""
  for path in _folders(Path(chosen.workdir)):
    if path not in runs:
      runs[path] = Run(path)
  sweep = sweeps.read(Path(chosen.workdir))
  if not (runs or sweep):
    raise BadInput(f"workdir={chosen.workdir} holds no run: give another folder")
  if sweep:
    runs = {path: run for path, run in runs.items() if _works(sweep, path)}
  for run in runs.values():
    run.look()
  terminal = sys.stdout.isatty() and not chosen.once
  width, height = shutil.get_terminal_size()
  above = [*sweep.lines(width - 1, height // 2), ""] if sweep else []
  room = height - len(above) if terminal else sys.maxsize
  lines = [*above, *_shown(runs, width, room, brief=bool(sweep) or len(runs) > 1)]
  print(CLEAR * terminal + "\n".join(lines), flush=True)


def _works(sweep: sweeps.Sweep, path: Path) -> bool:
  """Whether a run is of a trial that is at work."""
  trial = sweep.of(path.name)
  return trial is not None and trial.state == "running"


def _folders(path: Path) -> list[Path]:
  """The folder, or those within it, that hold runs."""
  if (path / CONFIG).is_file():
    return [path]
  patterns = ("/".join(["*"] * depth + [CONFIG]) for depth in range(1, DEPTH + 1))
  return sorted(found.parent for pattern in patterns for found in path.glob(pattern))


def _shown(runs: dict[Path, Run], width: int, room: int, brief: bool) -> list[str]:
  """The runs in full, or the first two lines of each that there is room for."""
  found = []
  for path, run in runs.items():
    lines = run.watched.lines(width - 1)
    found += [str(path), *(lines[:2] if brief else lines), ""]
  return found[: 3 * max(room // 3, 1)] if brief else found


PAGE = Page("watch", main, (Watch,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
