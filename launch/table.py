"""What a person at the terminal sees of a sweep."""

import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table as Grid

from launch.plan import Folder, Plan
from launch.study.importance import Importance

SHOWN = 12  # trials in the live table
RANKED = 20  # in the leaderboard

Trial = Mapping[str, Any]


def ranked(sweep: Plan, trials: Sequence[Trial]) -> list[Trial]:
  """The trials that were run to their end, the best first, by the first objective."""
  complete = [trial for trial in trials if trial["state"] == "complete"]
  sign = -1 if sweep.maximize[0] else 1
  return sorted(complete, key=lambda trial: (sign * trial["values"][0], trial["slot"]))


def deviation(trial: Trial, name: str) -> float | None:
  """The standard deviation of a number over the seeds of a trial."""
  values = [run["summary"][name] for run in trial["runs"] if run["summary"]]
  return statistics.stdev(values) if len(values) > 1 else None


class Table:
  """The trials at work and the best so far: live on a terminal, lines elsewhere."""

  def __init__(self, sweep: Plan, folder: Folder):
    self._sweep, self._folder = sweep, folder
    self._console = Console(stderr=True)
    self._live = Live(console=self._console, auto_refresh=False, transient=True)
    self._told: dict[int, str] = {}
    self._started = time.monotonic()

  def __enter__(self) -> "Table":
    count = self._sweep.trials * max(len(self._sweep.seeds), 1)
    self._console.print(
      f"{self._sweep.trials} trials, {count} runs in {self._folder.path}",
      highlight=False,
      soft_wrap=True,
    )
    if self._console.is_terminal:
      self._live.start()
    return self

  def __exit__(self, *error: object) -> None:
    self._live.stop()

  def update(self, trials: Sequence[Trial]) -> None:
    """Shows where the trials are."""
    if self._console.is_terminal:
      self._live.update(self._grid(trials), refresh=True)
      return
    for trial in trials:
      state, before = trial["state"], self._told.get(trial["slot"])
      if state != before and state in ("complete", "pruned", "failed"):
        print(_line(self._sweep, trial), file=sys.stderr, flush=True)
      self._told[trial["slot"]] = state

  def _grid(self, trials: Sequence[Trial]) -> Grid:
    counts = Counter(trial["state"] for trial in trials)
    seconds = time.monotonic() - self._started
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    grid = _columns(self._sweep, f"{told}; {seconds:,.0f} s")
    best = ranked(self._sweep, trials)
    running = [trial for trial in trials if trial["state"] == "running"]
    for trial in [*best, *running][:SHOWN] if len(running) < SHOWN else running[:SHOWN]:
      grid.add_row(*_cells(self._sweep, trial))
    return grid


def leaderboard(
  sweep: Plan,
  trials: Sequence[Trial],
  importance: Importance,
  chosen: Mapping[str, Any] | None,
) -> None:
  """Prints the best trials, what decides, what failed, and the test score."""
  console = Console(width=None if sys.stdout.isatty() else 120)
  best = ranked(sweep, trials)
  grid = _columns(sweep, f"{len(best)} of {len(trials)} trials ran to their end")
  for trial in best[:RANKED]:
    grid.add_row(*_cells(sweep, trial))
  console.print(grid)
  for trial in trials:
    if trial["state"] == "failed":
      print(_line(sweep, trial))
  parts = [f"{name} {share:.0%}" for name, share in importance.shares.items()]
  if importance.basis:
    print(f"importance {importance.basis}" + (f": {', '.join(parts)}" if parts else ""))
  for name, value in (chosen or {}).get("test", {}).items():
    print(f"{name} of trial {chosen['slot'] if chosen else ''}: {value:.4f}")


def _columns(sweep: Plan, title: str) -> Grid:
  grid = Grid(title=title, title_justify="left", title_style="")
  for name in ("trial", *sweep.space, *sweep.objective):
    grid.add_column(name, justify="right", overflow="fold")
  grid.add_column("± seeds", justify="right")
  grid.add_column("seconds", justify="right")
  return grid


def _cells(sweep: Plan, trial: Trial) -> list[str]:
  values = [f"{value:.4f}" for value in trial["values"]] or [trial["state"]]
  values += [""] * (len(sweep.objective) - len(values))
  spread = deviation(trial, sweep.objective[0]) if trial["values"] else None
  return [
    str(trial["slot"]),
    *(_text(trial["params"].get(name, "")) for name in sweep.space),
    *values,
    "" if spread is None else f"{spread:.4f}",
    "" if trial["seconds"] is None else f"{trial['seconds']:.0f}",
  ]


def _line(sweep: Plan, trial: Trial) -> str:
  flags = " ".join(f"--{k}={_text(v)}" for k, v in trial["params"].items())
  values = " ".join(f"{value:.4f}" for value in trial["values"])
  end = trial["error"] or values or ""
  return f"trial {trial['slot']} {trial['state']}: {flags}  {end}".rstrip()


def _text(value: Any) -> str:
  return f"{value:.4g}" if isinstance(value, float) else str(value)
