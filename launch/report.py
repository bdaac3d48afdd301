"""Shows a sweep as one HTML page, and says what else can show it.

  python -m launch.report SWEEP_DIR [--out=PAGE.html]

The page needs no network and no server; it can be made while the sweep is running.
"""

import argparse
import contextlib
import json
import shlex
import sys
from pathlib import Path

from launch import page


def main() -> None:
  """Writes the page; bad input ends in one sentence and exit code 2."""
  parser = argparse.ArgumentParser(prog="python -m launch.report", allow_abbrev=False)
  parser.add_argument(
    "sweep", type=Path, metavar="SWEEP_DIR", help="the sweep's folder"
  )
  parser.add_argument("--out", type=Path, help="the page; SWEEP_DIR/report.html")
  arguments = parser.parse_args()
  try:
    out = page.write(arguments.sweep, arguments.out)
  except page.NoSweep as error:
    sys.exit(_fail(str(error)))
  except OSError as error:
    sys.exit(_fail(f"{error.filename} cannot be written ({error.strerror})"))
  print(out)
  for purpose, command in viewers(arguments.sweep):
    print(f"{purpose:24} {command}")


def viewers(sweep: Path) -> list[tuple[str, str]]:
  """What else shows a sweep, also while it runs: purpose and command.

  Args:
    sweep: its folder; the storage is the one that its `sweep.json` names.
  """
  storage = None  # without the file, it is where it is by default
  with contextlib.suppress(OSError, ValueError, AttributeError):
    storage = json.loads((sweep / "sweep.json").read_text("utf-8")).get("storage")
  storage = str(storage or f"sqlite:///{sweep / 'study.db'}")
  return [
    ("the search, live:", f"optuna-dashboard {shlex.quote(storage)}"),
    ("every scalar of a run:", f"tensorboard --logdir {shlex.quote(f'{sweep}/runs')}"),
  ]


def _fail(message: str) -> int:
  print(f"error: {message}", file=sys.stderr)
  return 2


if __name__ == "__main__":
  main()
