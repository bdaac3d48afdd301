"""What an experiment says of itself, and the commands that a sweep makes of it."""

import difflib
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree

from launch import run
from launch.plan import Folder, Plan
from launch.space import Range
from unroll.errors import BadInput

OBJECTIVE = "val/loss"  # of a program that names none


class Description(NamedTuple):
  """An experiment, as its --helpxml tells.

  Attributes:
    flags: name -> type; empty for a program that has no --helpxml.
    objective: the number of its summary that a sweep goes by, with a minus where the
      highest is the best.
  """

  flags: dict[str, str]
  objective: str


def description(experiment: str) -> Description:
  """Asks an experiment what it is.

  Raises:
    BadInput: if there is no such module.
  """
  try:
    found = importlib.util.find_spec(experiment)
  except (ImportError, ValueError):
    found = None
  if found is None:
    raise BadInput(f"{experiment} is no module to run: see `ls experiments`")
  told = subprocess.run(
    [sys.executable, "-m", experiment, "--helpxml"],
    stdin=subprocess.DEVNULL,
    capture_output=True,
    check=False,
  )
  try:
    root = ElementTree.fromstring(told.stdout)
  except ElementTree.ParseError:
    return Description({}, OBJECTIVE)
  known = {
    flag.findtext("name", ""): flag.findtext("type", "") for flag in root.iter("flag")
  }
  return Description(known, root.findtext("objective", OBJECTIVE))


def named(argument: str, known: Mapping[str, str]) -> str:
  """An argument whose flag exists; `--noresidual` as `--residual=false`."""
  name, given, _ = argument.lstrip("-").partition("=")
  if not known or not argument.startswith("-") or name in known:
    return argument
  if not given and known.get(name.removeprefix("no")) == "bool":
    return f"--{name.removeprefix('no')}=false"
  near = difflib.get_close_matches(name, known, 1)
  hint = f"did you mean --{near[0]}?" if near else "see its --helpfull"
  raise BadInput(f"--{name} is no flag of the sweep, nor of the experiment: {hint}")


def commands(plan: Plan, folder: Folder) -> list[str]:
  """The command of every run; what a search is to draw is shown by its range."""
  drawn = {
    name: f"<{domain.low:g}…{domain.high:g}>"
    if isinstance(domain, Range)
    else f"<{'|'.join(domain.values)}>"
    for name, domain in plan.space.items()
  }
  return [
    shlex.join(["python", *run.command(plan.experiment, flags)[1:]])
    for slot in range(plan.trials)
    for flags in plan.runs(folder, slot, plan.points[slot] if plan.points else drawn)
  ]
