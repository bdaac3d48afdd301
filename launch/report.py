"""Shows a sweep as one HTML page, and says what else can show it.

  python -m launch.report SWEEP_DIR [--out=PAGE.html] [--compare=clip_norm]

The page needs no network and no server; it can be made while the sweep is running.
With --compare it also prints what other values of flags change, at equal seeds.
"""

import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

from launch import page, paired, paths
from launch.main import run_main
from launch.plan import PLAN, RUNS, TRIALS
from unroll.errors import BadInput

FLAGS = flags.FLAGS

paths.DEFINE_path("out", "", "the page; empty: report.html in the sweep's folder")
flags.DEFINE_list(
  "compare",
  [],
  "swept flags: prints each trial beside the first that differs from it in these "
  "alone, seed by seed, with an interval and the runs that diverged",
)


def main(arguments: Sequence[str]) -> None:
  """Writes the page of the sweep in a folder."""
  if len(arguments) != 1 or arguments[0].startswith("-"):
    given = " ".join(arguments) or "nothing"
    raise BadInput(f"{given}: give one folder, python -m launch.report SWEEP_DIR")
  sweep = Path(arguments[0])
  print(page.write(sweep, Path(FLAGS.out) if FLAGS.out else None))
  for purpose, command in viewers(sweep):
    print(f"{purpose:24} {command}")
  if FLAGS.compare:
    compare(sweep, FLAGS.compare)


def compare(sweep: Path, names: Sequence[str]) -> None:
  """Prints trials in pairs, see `paired`.

  Raises:
    BadInput: the sweep has no trials yet, or a flag is not swept.
  """
  try:
    result = json.loads((sweep / TRIALS).read_text("utf-8"))
  except (OSError, ValueError):
    raise BadInput(f"{sweep} has no readable {TRIALS}: wait for its first runs") from (
      None
    )
  console = Console(width=None if sys.stdout.isatty() else 120)
  for table in paired.tables(result, names):
    console.print(table)


def viewers(sweep: Path) -> list[tuple[str, str]]:
  """What else shows a sweep, also while it runs: purpose and command.

  Args:
    sweep: its folder; the storage is the one that its `sweep.json` names.
  """
  storage = None  # without the file, it is where it is by default
  with contextlib.suppress(OSError, ValueError, AttributeError):
    storage = json.loads((sweep / PLAN).read_text("utf-8")).get("storage")
  storage = str(storage or f"sqlite:///{sweep / 'study.db'}")
  return [
    ("the search, live:", f"optuna-dashboard {shlex.quote(storage)}"),
    (
      "every scalar of a run:",
      f"tensorboard --logdir {shlex.quote(f'{sweep}/{RUNS}')}",
    ),
  ]


if __name__ == "__main__":
  run_main(main)
