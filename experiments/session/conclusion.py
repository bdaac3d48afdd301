"""The end of a run: its summary, its curves and its page."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.session import folder
from experiments.session.armfile import Arms
from experiments.session.pieces import Pieces, parameters
from experiments.session.settings import Settings
from experiments.session.task import Member, Task
from experiments.session.terminal import extra, say, warn
from experiments.session.training import Training
from unroll import loop, names
from unroll.loading import load
from unroll.records import METRICS, SPLITS, measured, read
from unroll.report.curves import curves
from unroll.report.page import page
from unroll.run import Progress, Run
from unroll.train import TrainState


def conclude(
  pieces: Pieces,
  members: Sequence[Member],
  states: Sequence[TrainState],
  runs: Sequence[Run],
  done: bool,
  budget: loop.Budget,
) -> list[dict[str, Any]]:
  """Shows each run to people, in its folder and on the terminal.

  Returns:
    The summary of each.
  """
  task, summaries = pieces.task, []
  for (settings, _, _, path), state, run in zip(members, states, runs):
    if run.error:
      warn(f"{path}: {run.error}")
      summaries.append({"error": str(run.error), "workdir": str(path)})
      continue
    ended = budget.steps is not None and run.progress.step >= budget.steps
    finished = done or ended
    found = summary(task, settings, run.progress, state, finished, path)
    if finished:
      if len(runs) > 1:
        print(f"{path}:")
      print(_line(task, found))
      if task.show:
        task.show(settings, load(path, warn=warn), path)
    elif not settings[Arms].arms:
      say(f"interrupted; the same command with --workdir={path} goes on")
    with extra(path / "report.html"):
      command, measures = folder.command(settings), task.measures
      page(
        path,
        command=command,
        summary=found,
        measures=measures,
        shows=task.shows,
        parameters=names.shapes(state.params),
      )
    summaries.append(found)
  if not done and (arms := members[0].settings[Arms].arms):
    say(f"interrupted; the same command with --arms={arms} goes on")
  return summaries


def summary(
  task: Task,
  settings: Settings,
  progress: Progress,
  state: TrainState,
  finished: bool,
  path: Path,
) -> dict[str, Any]:
  """What there is to say of a run at its end; draws its curves into its folder."""
  training = settings[Training]
  records = read(path / METRICS, warn=warn)
  if progress.step:
    with extra(path / "curves.png"):
      clip_norm = training.clip_norm if training.clip_by == "global_norm" else None
      drawn = [measure for measure in task.measures if measure.drawn]
      curves(path, measures=drawn, clip_norm=clip_norm, warn=lambda said: None)

  def finite(name: str) -> list[float]:
    return [value for _, value in measured(records, name) if value is not None]

  speed = f"{task.counted}_per_second"
  losses, speeds = finite("train/loss")[-100:], finite(speed)
  starts = finite("start_seconds")
  last = {name: value for name, value in progress.last.items() if name != "step"}
  return {
    "steps": progress.step,
    task.counted: int(progress.targets),
    "seconds": round(progress.seconds, 2),
    "start_seconds": round(starts[-1], 2) if starts else None,
    speed: round(statistics.median(speeds)) if speeds else 0,
    "parameters": parameters(state),
    "train/loss": statistics.fmean(losses) if losses else None,
    **last,
    **{f"best/{name}": value for name, value in progress.best.items()},
    "skipped": int(jax.device_get(state.skipped)),
    "finished": finished,
    "workdir": str(path),
  }


def _line(task: Task, found: Mapping[str, Any]) -> str:
  """One line of a finished run, for people."""
  split = "val" if task.evaluations else "online"
  shown = [
    measure.shown(found[f"{split}/{measure.name}"])
    for measure in task.measures
    if found.get(f"{split}/{measure.name}") is not None
  ]
  return f"{SPLITS[split]}: {', '.join(shown)}"
