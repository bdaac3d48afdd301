"""What a run is: `config.json`, and the same sealed into each of its checkpoints.

All settings of a run stand there, but not all make it another run: `settings.Role` says
which may differ from one call to the next. The file has the current values, and under
"history" those that held until a step.
"""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.session.settings import Page, Settings
from experiments.session.task import Kept
from unroll import files
from unroll.loading import CONFIG, configuration
from unroll.metrics import SHOWN, Measure
from unroll.settings import checked, shown
from unroll.types import BadInput

Config = dict[str, Any]


def identity(settings: Settings, task: Kept) -> Config:
  """What a run with these settings would be."""
  return {
    "experiment": settings.page.name,
    # As JSON reads it back: tuples are lists there.
    "flags": _plain(settings.values("run", "changing", "data")),
    "model": task.model,
    "data": task.data,
    "splits": dict(task.splits),
    "files": {name: _digest(text) for name, text in task.files.items()},
  }


def write(path: Path, config: Config, measures: Sequence[Measure]) -> None:
  """Writes the configuration of a new run into its folder.

  Args:
    path: the folder.
    config: what the run is.
    measures: what its numbers are called, for those who read them.
  """
  names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
  versions = {name: importlib.metadata.version(name) for name in names}
  versions["python"] = platform.python_version()
  told = [{name: getattr(measure, name) for name in SHOWN} for measure in measures]
  _write(path, {**config, "versions": versions, "measures": told})


def read(path: Path, page: Page) -> Config:
  """The configuration of a page's run in a folder, as this version writes it.

  Raises:
    BadInput: it is damaged, or of another page.
  """
  config = configuration(path)
  if config["experiment"] != page.name:
    return config
  config = without_former(config, page, path / CONFIG)
  for name in config["flags"].keys() & page.settings.keys():
    config["flags"][name] = _checked(path / CONFIG, page, name, config["flags"][name])
  return config


def without_former(config: Config, page: Page, where: Path) -> Config:
  """A configuration without the settings that the page has no more.

  Raises:
    BadInput: one of them has another value than the page can read.
  """
  flags = config["flags"]
  former = page.former if config["experiment"] == page.name else {}
  for name in former.keys() & flags.keys():
    if flags[name] != former[name]:
      raise BadInput(
        f"{where} has --{name}={flags[name]}, and only {former[name]} is left: use the "
        "program that trained the run"
      )
  kept = {name: flags[name] for name in flags if name not in former}
  return {**config, "flags": kept}


def differences(page: Page, there: Config, here: Config) -> list[str]:
  """What makes `here` another run than `there`, in words; empty for the same one."""
  before, now = _known(page, there["flags"]), _known(page, here["flags"])
  same_data = there["data"] == here["data"]
  places = {name for name, s in page.settings.items() if s.role == "data"}
  changing = {name for name, s in page.settings.items() if s.role == "changing"}
  free = changing | (places if same_data else set())
  differing = [
    f"--{name} (there {shown(before.get(name))}, here {shown(now.get(name))})"
    for name in sorted((before.keys() | now.keys()) - free)
    if not _same(before.get(name), now.get(name))
  ]
  if there["experiment"] != here["experiment"]:
    differing.insert(0, f"the experiment (there {there['experiment']})")
  named = " and ".join(f"--{name}" for name in sorted(places))
  if not differing and not same_data:
    differing.append(f"the data of {named}, which have changed")
  if not differing and not _same_splits(there, here):
    differing.append(f"the splits of the data of {named}")
  if not differing and there["files"] != here["files"]:
    files = there["files"].items() ^ here["files"].items()
    differing.append(f"its {', '.join(sorted({name for name, _ in files}))}")
  return differing


def adopted(
  settings: Settings, path: Path, saved: Config, own: tuple[str, ...]
) -> Settings:
  """The settings of a run, but for those that this call may have and was given.

  Args:
    settings: of the call.
    path: the run's folder.
    saved: its configuration.
    own: settings that this call may have beside those that may change.

  Raises:
    BadInput: if a setting that was given contradicts the run.
  """
  page = settings.page
  given = settings.values("run", "changing", "data")
  taken = {}
  for name, value in saved["flags"].items():
    if name not in page.settings:
      raise BadInput(f"{path / CONFIG} has a flag --{name} that does not exist here")
    if page.settings[name].role == "call":  # of another version
      continue
    value = checked(page.settings[name], value)
    if name in settings.given and not _same(given[name], value):
      if page.settings[name].role == "changing" or name in own:
        continue
      here, there = shown(_plain(given[name])), shown(value)
      raise BadInput(
        f"--{name}={here} contradicts the run in {path}, which has {there}: drop the "
        "flag"
      )
    taken[name] = value
  return settings.adopted(taken)


def check_data(path: Path, saved: Config, task: Kept, settings: Settings) -> None:
  """Refuses data that are not those that a run was trained on."""
  here = {"splits": dict(task.splits)}
  if task.data != saved["data"] or not _same_splits(saved, here):
    places = [n for n, s in settings.page.settings.items() if s.role == "data"]
    raise BadInput(
      f"{settings.shown(*places)}: these are not the data that {path} was trained on: "
      "restore them, or say where they are now"
    )


def update(path: Path, settings: Settings, step: int) -> dict[str, tuple[Any, Any]]:
  """Has the configuration say what holds from now on, and what held until `step`.

  Returns:
    What has changed: setting -> (before, now).
  """
  saved = read(path, settings.page)
  known = _known(settings.page, saved["flags"])
  current = _plain(settings.values("changing", "data"))
  before = {
    name: known.get(name)
    for name, value in current.items()
    if not _same(known.get(name), value)
  }
  if before:
    if step:
      held = {"until_step": step, "flags": before}
      saved["history"] = [*saved.get("history", []), held]
    saved["flags"] |= {name: current[name] for name in before}
    _write(path, saved)
  return {name: (value, current[name]) for name, value in before.items()}


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def _same_splits(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
  """Whether data are split alike; older versions did not say how."""
  if not (there.get("splits") and here.get("splits")):
    return True
  return there["splits"] == here["splits"]


def _known(page: Page, flags: Mapping[str, Any]) -> dict[str, Any]:
  """The settings of a run; one that is younger than the run was as by default."""
  defaults = {
    name: _plain(setting.default)
    for name, setting in page.settings.items()
    if setting.role != "call"
  }
  known = {
    name: _plain(checked(page.settings[name], value)) if name in defaults else value
    for name, value in flags.items()
  }
  return {**defaults, **known}


def _same(one: Any, other: Any) -> bool:
  return one == other or (one != one and other != other)


def _checked(where: Path, page: Page, name: str, value: Any) -> Any:
  """A value of a setting as JSON has it, if the setting takes it."""
  setting = page.settings[name]
  try:
    return _plain(checked(setting, value))
  except BadInput:
    pass
  if setting.choices and isinstance(value, str):
    raise BadInput(
      f"{where} has --{name}={value}, which is none of {', '.join(setting.choices)} "
      "here: use the program that trained the run"
    )
  raise BadInput(
    f"{where} has {json.dumps(value)} for --{name}, which is no value of it: restore "
    "the file"
  )


def _write(path: Path, config: Config) -> None:
  files.write(path / CONFIG, json.dumps(config, indent=2) + "\n")


def _plain(value: Any) -> Any:
  return json.loads(json.dumps(value))
