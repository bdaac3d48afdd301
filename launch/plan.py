"""What a sweep is, and its folder."""

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from launch.space import Choice, Domain, Range
from unroll import files
from unroll.errors import BadInput

PLAN, TRIALS, REPORT = "sweep.json", "trials.json", "report.html"
RUNS, LOGS, WORKERS = "runs", "logs", "workers"


class Plan(NamedTuple):
  """All that decides what a sweep does, whoever does it and where.

  Attributes:
    experiment: the module that is run.
    fixed: its flags that stay, as texts.
    space: its flags that vary, and over what.
    points: the trials of a grid, flag by flag; empty for a search, which draws them.
    search: how trials are chosen, of `study.SEARCHES`.
    trials: how many there are.
    seeds: of each trial, one run each.
    objective: names in the summary of a run; the first decides.
    maximize: for each of them, whether more is better.
    prune: whether a trial that falls behind is stopped.
    together: flags that may differ between the runs of one process.
    storage: Optuna's, as a URL or a journal file; empty: a file in the folder.
    study: its name there.
  """

  experiment: str
  fixed: Mapping[str, str]
  space: Mapping[str, Domain]
  points: Sequence[Mapping[str, str]]
  search: str
  trials: int
  seeds: Sequence[int]
  objective: Sequence[str]
  maximize: Sequence[bool]
  prune: bool
  together: Sequence[str]
  storage: str
  study: str

  @property
  def prunes(self) -> bool:
    """Whether trials may be stopped before their end."""
    return self.prune or self.search == "hyperband"

  def to_json(self) -> dict[str, Any]:
    """Plain dicts, lists and texts."""
    space = {name: domain._asdict() for name, domain in self.space.items()}
    return json.loads(json.dumps({**self._asdict(), "space": space}))

  def runs(
    self, folder: "Folder", slot: int, values: Mapping[str, str]
  ) -> list[dict[str, str]]:
    """The flags of a trial's runs, one for each seed.

    Args:
      folder: the sweep's.
      slot: the trial's place.
      values: its own flags.
    """
    flags = {**self.fixed, **values}
    seeds = self.seeds or [int(values["seed"])]
    return [
      {
        **flags,
        "seed": str(seed),
        "workdir": str(folder.run(slot, seed)),
        "json": "true",
      }
      for seed in seeds
    ]

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> "Plan":
    """Reads what `to_json` gave."""
    space: dict[str, Domain] = {
      name: Choice(tuple(domain["values"])) if "values" in domain else Range(**domain)
      for name, domain in data["space"].items()
    }
    return cls(**{**data, "space": space})


class Folder:
  """A sweep's folder: where things stand in it.

  Args:
    path: the folder; made when a plan is written.
  """

  def __init__(self, path: Path):
    self.path = path

  def run(self, slot: int, seed: int) -> Path:
    """The run folder of a slot's seed."""
    return self.path / RUNS / f"{slot:04}-seed{seed}"

  def runs(self, slot: int) -> list[Path]:
    """The run folders of a slot that there are."""
    return sorted((self.path / RUNS).glob(f"{slot:04}-seed*"))

  def noted(self) -> dict[int, dict[str, Any]]:
    """The flags of each slot's trial, as far as `trials.json` tells."""
    try:
      trials = json.loads((self.path / TRIALS).read_text("utf-8"))["trials"]
      return {trial["slot"]: dict(trial["params"]) for trial in trials}
    except (OSError, ValueError, TypeError, KeyError):
      return {}

  def log(self, name: str) -> Path:
    """A log file."""
    return self.path / LOGS / f"{name}.log"

  def begin(self, plan: Plan) -> Plan:
    """Writes the plan, or recognises it in a folder that has one.

    Returns:
      The plan there: it keeps the name of its study.

    Raises:
      BadInput: if the folder holds another sweep, or something else.
    """
    if (self.path / PLAN).exists():
      there = self.plan()
      before, now = there.to_json(), plan._replace(study=there.study).to_json()
      differing = [name for name in now if now[name] != before.get(name)]
      if differing:
        name = differing[0]
        raise BadInput(
          f"--sweepdir={self.path} holds another sweep: its {name} is "
          f"{_short(before.get(name))} there and {_short(now[name])} here; give "
          "another --sweepdir"
        )
      return there
    if self.path.exists() and any(self.path.iterdir()):
      raise BadInput(
        f"--sweepdir={self.path} is not empty and holds no sweep: give a new folder"
      )
    for part in (RUNS, LOGS, WORKERS):
      (self.path / part).mkdir(parents=True, exist_ok=True)
    write(self.path / PLAN, plan.to_json())
    return plan

  def plan(self) -> Plan:
    """Reads the plan; BadInput if there is none."""
    if not (self.path / PLAN).is_file():
      raise BadInput(f"{self.path} is no sweep: it has no {PLAN}")
    try:
      return Plan.from_json(json.loads((self.path / PLAN).read_text("utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
      raise BadInput(
        f"{self.path / PLAN} is not the plan of a sweep ({error}): restore it"
      ) from None

  @contextlib.contextmanager
  def locked(self, name: str, *, wait: bool) -> Iterator[bool]:
    """Holds a lock of the folder, until the process ends at the latest.

    Args:
      name: of the lock.
      wait: for whoever holds it; otherwise false is yielded.
    """
    with open(self.path / f".{name}", "ab", opener=files.unlinked) as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
      except BlockingIOError:
        yield False
      else:
        yield True


def write(path: Path, content: Any) -> None:
  """Writes JSON, so that a reader sees the old file or the new one."""
  files.write(path, json.dumps(content, indent=1) + "\n")


def without_password(text: str) -> str:
  """A URL, or a command that has some, as it can be shown."""
  return re.sub(r"(\w+://[^:/@\s]+):[^@\s]+@", r"\1:…@", text)


def _short(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 120 else f"{text[:120]}…"
