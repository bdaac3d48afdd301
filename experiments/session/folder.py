"""A run's folder: made, recognised, refused."""

import fcntl
import os
import re
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.session import identity
from experiments.session.gang import Busy
from experiments.session.identity import Config
from experiments.session.settings import Settings
from experiments.session.task import Kept
from experiments.session.training import Training
from unroll import checkpoint, files
from unroll.loading import CHECKPOINTS, CONFIG, current
from unroll.settings import setting
from unroll.types import BadInput

# All that a run writes beside what its task names: what --overwrite may delete, and
# nothing else.
OURS = (
  *(CONFIG, CHECKPOINTS, "metrics.jsonl*", "events.out.tfevents.*", "curves.png"),
  *("report.html", files.PARTIAL),
)
# What stands in the folder beside the run: held while it trains; launch.train's notes.
LOCK, GANG = ".lock", "gang"
_locks: list[int] = []  # open files


@dataclass(frozen=True)
class Folder:
  """The run"""

  workdir: str = setting(
    "", "the run's folder; a new one under runs/ if empty", kind="path", role="call"
  )
  overwrite: bool = setting(
    False, "starts anew in a folder that holds a run", role="call"
  )
  checkpoint: str = setting(
    "best",
    "the checkpoint that other modes than train restore: best, newest or a step",
    kind="checkpoint",
    role="call",
  )
  json: bool = setting(False, "ends standard output with one JSON object", role="call")
  quiet: bool = setting(
    False, "shows no progress: results, warnings and errors alone", role="call"
  )
  verbose: bool = setting(
    False,
    "tells where arrays lie, how scans run, what is compiled and where the time goes",
    role="call",
  )


def check(settings: Settings, task: Kept) -> None:
  """Refuses what `prepare` would refuse, and writes nothing.

  Raises:
    BadInput: if the folder holds another run, or something that is no run.
  """
  if not (workdir := settings[Folder].workdir):
    return  # it gets a new one
  path = Path(workdir)
  if re.search("[\ud800-\udfff]", os.path.abspath(path)):
    raise BadInput(
      f"workdir={path}: checkpoints need a path of UTF-8 text: give another folder"
    )
  if path.is_dir():
    _refuse_another(path, settings, task)


def prepare(settings: Settings, task: Kept) -> Path:
  """Makes the folder of a new run, or opens that of the same run, and keeps others out.

  No other process can train there until this one has ended, or calls `release`.

  Returns:
    The folder.

  Raises:
    BadInput: if the folder holds another run, or something that is no run.
    Busy: if another process trains there.
    OSError: if it cannot be written.
  """
  stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"
  path = Path(settings[Folder].workdir or Path("runs", settings.page.name, stamp))
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise BadInput(
      f"workdir={path} cannot be made ({error.strerror}): give another folder"
    ) from None
  _refuse_another(path, settings, task)  # before anything is written
  _lock(path)
  _refuse_another(path, settings, task)  # whoever had the lock may have begun one
  if settings[Folder].overwrite:
    _clear(path, task)
  # Also where a run goes on, whose files may be gone or another's by now.
  for name, text in task.files.items():
    files.write(path / name, text)
  if (path / CONFIG).exists():
    return path
  # Last: a folder with a configuration is a whole run.
  identity.write(path, identity.identity(settings, task), task.measures)
  return path


def existing(settings: Settings, own: tuple[str, ...] = ()) -> tuple[Path, Settings]:
  """Opens the run of `workdir`.

  Args:
    settings: of this call.
    own: settings that this call may have beside those that may change.

  Returns:
    The folder and the run's settings.

  Raises:
    BadInput: if there is no such run, or a setting given contradicts it.
  """
  page = settings.page
  if not settings[Folder].workdir:
    runs = sorted(Path("runs", page.name).glob(f"*/{CONFIG}"), key=os.path.getmtime)
    latest = f", such as --workdir={runs[-1].parent}" if runs else ""
    raise BadInput(f"{settings.shown('mode')} needs `workdir`, the run to read{latest}")
  path = Path(settings[Folder].workdir)
  if not (path / CONFIG).exists():
    _refuse_nameless(path)
    raise BadInput(f"workdir={path} holds no {CONFIG}: train there first")
  saved = identity.read(path, page)
  if saved["experiment"] != page.name:
    raise BadInput(
      f"workdir={path} is a run of experiments.{saved['experiment']}: use that"
    )
  found = identity.adopted(settings, path, saved, own)
  if sealed := _sealed(path, settings):
    step, config = sealed
    if differing := identity.differences(page, config, saved):
      raise BadInput(
        f"{path / CONFIG} is of another run than checkpoint {step}: it differs in "
        f"{', '.join(differing)}; restore it"
      )
  return path, found


def checkpoints(path: Path, settings: Settings) -> checkpoint.Checkpoints:
  """What writes the checkpoints of a run, each with the configuration of the run."""
  config = identity.read(path, settings.page)
  return checkpoint.Checkpoints(path / CHECKPOINTS, settings[Training].keep, config)


def command(settings: Settings) -> str:
  """What repeats this run in a folder of its own: the settings that were given."""
  left = ("workdir", "overwrite", "json")
  texts = [flag for name, flag in settings.given.items() if name not in left]
  return shlex.join(["python", "-m", f"experiments.{settings.page.name}", *texts])


def _sealed(path: Path, settings: Settings) -> tuple[int, Config] | None:
  """The newest step that says which run it is of, and what it says."""
  sealed = checkpoint.run_of(path / CHECKPOINTS)
  if sealed is None or (config := current(sealed[1])) is None:
    return None
  where = path / CHECKPOINTS
  return sealed[0], identity.without_former(config, settings.page, where)


def _refuse_another(path: Path, settings: Settings, task: Kept) -> None:
  overwrite = settings[Folder].overwrite
  if overwrite and (path / CONFIG).exists():
    return
  if (path / CONFIG).exists():
    _same_run(path, "", identity.read(path, settings.page), settings, task)
    if sealed := _sealed(path, settings):
      _same_run(path, f"checkpoint {sealed[0]} of ", sealed[1], settings, task)
    return
  names = [
    entry.name
    for entry in path.iterdir()
    if not (_is_ours(entry, task) or entry.name in (LOCK, GANG))
  ]
  if names:
    raise BadInput(
      f"workdir={path} holds {min(names)} and no run: give an empty or new folder"
    )
  if not overwrite:
    _refuse_nameless(path)


def _refuse_nameless(path: Path) -> None:
  if found := checkpoint.steps(path / CHECKPOINTS):
    raise BadInput(
      f"workdir={path} has checkpoints up to step {found[-1]}, but no {CONFIG} that "
      "says of which run: put it back from a copy, or from a new folder in which the "
      "run's own command with --steps=0 writes it; or start afresh with --overwrite"
    )


def release() -> None:
  """Lets others train in the folders that this process has prepared."""
  while _locks:
    os.close(_locks.pop())


def _lock(path: Path) -> None:
  """Holds the folder until `release`, or until this process ends, however it does."""
  file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
  _locks.append(file)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise Busy(
      f"workdir={path} is being trained in by another process: wait for its end, or "
      "give another folder"
    ) from None
  except OSError:
    pass  # a file system without locks


def _same_run(
  path: Path, part: str, there: Config, settings: Settings, task: Kept
) -> None:
  here = identity.identity(settings, task)
  if differing := identity.differences(settings.page, there, here):
    raise BadInput(
      f"workdir={path} holds {part}another run: it differs in "
      f"{', '.join(differing)}; give another `workdir`, or `overwrite` to start anew"
    )


def _is_ours(entry: Path, task: Kept) -> bool:
  return any(entry.match(pattern) for pattern in (*OURS, *task.files, *task.shows))


def _clear(path: Path, task: Kept) -> None:
  # First what says which run it is: one half gone is never taken for a whole.
  for entry in sorted(path.iterdir(), key=lambda entry: entry.name != CONFIG):
    if _is_ours(entry, task):
      shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
