"""Every kind of search on one space, side by side: the best value against trials.

  python -m launch.sweeps.searches

By default, the learning rate, clipping threshold, width and cell of a small language
model, in so few steps that a trial takes seconds; what the command line gives takes
precedence, as for launch.sweep, whose flags hold here too. Each search is a sweep of
its own in the folder, and goes on where it was stopped.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from launch import plan
from launch.main import run_main, say
from launch.sweep import installed, sweep
from unroll.errors import BadInput

FLAGS = flags.FLAGS

SEARCHES = ("random", "tpe", "gp", "cmaes", "nsga2", "hyperband")
SPACE = [
  "--learning_rate=log:1e-4:1e-1",
  "--clip_norm=log:0.03:30",
  "--hidden=logint:16:128",
  "--cell=rnn,gru,lstm",
  "--layers=1",
  "--corpus=pydoc",
  "--steps=120",
  "--eval_every=20",
]
PICTURE = "searches.png"


def main(arguments: Sequence[str]) -> None:
  """Runs the searches and draws the picture."""
  if FLAGS["search"].present:
    raise BadInput("--search: this runs every one of them; drop it")
  for search in SEARCHES:
    installed(search)
  given = {argument.partition("=")[0] for argument in arguments}
  space = [a for a in SPACE if a.partition("=")[0] not in given] + list(arguments)
  base = Path(FLAGS.sweepdir or Path("runs", "searches"))
  found = {}
  for search in SEARCHES:
    say(f"--search={search}")
    FLAGS["search"].value, FLAGS["sweepdir"].value = search, str(base / search)
    sweep("experiments.charlm", [space])
    if FLAGS.dry_run:
      return
    text = (base / search / plan.TRIALS).read_text("utf-8")
    if not (result := json.loads(text))["finished"]:
      return  # it was asked to stop
    found[search] = result["trials"]
  draw(found, result["objective"][0], base / PICTURE)
  print(base / PICTURE)


def best_so_far(trials: Iterable[dict[str, Any]]) -> tuple[list[float], list[float]]:
  """The least value after each trial, and the seconds that they took together."""
  trials = sorted(trials, key=lambda trial: trial["ended"])
  values = [trial["values"][0] if trial["values"] else None for trial in trials]
  known = [float("inf") if value is None else value for value in values]
  seconds = [trial["seconds"] or 0.0 for trial in trials]
  return list(itertools.accumulate(known, min)), list(itertools.accumulate(seconds))


def draw(found: dict[str, list[dict[str, Any]]], objective: str, path: Path) -> None:
  """Draws the best value of each search against its trials, and against its time."""
  from matplotlib.figure import Figure  # slow to import

  figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
  panels: list[Any] = list(figure.subplots(1, 2, sharey=True))
  for search, trials in found.items():
    best, seconds = best_so_far(trials)
    label = f"{search}: {best[-1]:.3f}"
    panels[0].step(range(1, len(best) + 1), best, where="post", label=label)
    panels[1].step(seconds, best, where="post", label=label)
  panels[0].set_xlabel("trials")
  panels[0].xaxis.get_major_locator().set_params(integer=True)
  panels[1].set_xlabel("seconds of all trials")
  panels[0].set_ylabel(f"best {objective} so far")
  for axes in panels:
    axes.grid(color="#e4e7ea")
  panels[0].legend(frameon=False)
  figure.savefig(path)


if __name__ == "__main__":
  FLAGS.set_default("trials", 20)
  run_main(main)
