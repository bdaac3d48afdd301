"""The file of --arms: what each run has of its own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Settings
from experiments.session.training import Training
from unroll import files
from unroll.settings import parsed, setting
from unroll.train import Arm
from unroll.types import BadInput


@dataclass(frozen=True)
class Arms:
  """Many runs in one program"""

  arms: str = setting(
    "",
    "a JSON file of runs to train in one program, which differ in few numbers: "
    '[{"workdir": "a", "flags": {"seed": "1", "learning_rate": "0.01"}}, …]',
    kind="path",
    role="call",
  )


def read(settings: Settings) -> list[Settings]:
  """The settings of each arm of the file.

  Raises:
    BadInput: if there is none, something in it is not what an arm has of its own, or a
      setting is one that arms cannot share.
  """
  path = settings[Arms].arms
  try:
    content = json.loads(Path(path).read_text("utf-8"))
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise BadInput(f"arms={path} cannot be read as JSON: {reason}") from None
  if not isinstance(content, list) or not content:
    raise BadInput(f'arms={path} holds no list of {{"workdir": …, "flags": {{…}}}}')
  _refuse_shared(settings)
  arms = [_arm(settings, number, entry) for number, entry in enumerate(content)]
  folders = [Path(arm[Folder].workdir).resolve() for arm in arms]
  for place in folders:
    if folders.count(place) > 1:
      raise BadInput(f"arms={path}: two arms share {place}: give each its own")
  return arms


def _arm(settings: Settings, number: int, entry: Any) -> Settings:
  where = f"arms={settings[Arms].arms}, arm {number}"
  match entry:
    case {"workdir": str(folder), "flags": dict(given), **rest} if folder and not rest:
      try:
        values = {name: _value(settings, name, given[name]) for name in given}
        return settings.replaced(workdir=files.expanded(folder), **values)
      except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
  raise BadInput(
    f'{where}: give {{"workdir": "…", "flags": {{…}}}} and nothing else, not '
    f"{json.dumps(entry)[:60]}"
  )


def _value(settings: Settings, name: str, value: Any) -> Any:
  if name not in Arm._fields:
    raise BadInput(
      f"--{name} makes another program; what may differ is {', '.join(Arm._fields)}"
    )
  return parsed(settings.page.settings[name], str(value))


def _refuse_shared(settings: Settings) -> None:
  """Refuses settings that arms cannot share."""
  if settings[Processes].processes > 1:
    raise BadInput("`arms` is for one process: drop `processes`")
  if workdir := settings[Folder].workdir:
    raise BadInput(f"workdir={workdir}: each arm of `arms` has its own; drop it")
  training = settings[Training]
  if training.minutes is not None:
    raise BadInput(
      f"minutes={training.minutes}: how far an arm comes in that time depends on the "
      "others; give `steps` or `epochs`"
    )
  if training.patience:
    raise BadInput(
      f"patience={training.patience}: arms end together, and would run out of it at "
      "different steps; drop it"
    )


def refuse_arms(settings: Settings) -> None:
  """Refuses a file of arms where nothing is trained."""
  if settings[Arms].arms:
    raise BadInput("`arms` is for mode=train: read one of its runs with `workdir`")
