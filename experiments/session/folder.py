"""A run's folder: made, recognised, refused."""

import fcntl
import os
import secrets
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

from absl import flags

from experiments.session import identity
from experiments.session.gang import Busy
from experiments.session.identity import CONFIG
from unroll import checkpoint, files
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

FLAGS = flags.FLAGS

VOCABULARY, CHECKPOINTS = "vocab.json", "checkpoints"
# All that a run writes: what --overwrite may delete, and nothing else.
OURS = (
  *(CONFIG, VOCABULARY, CHECKPOINTS, "metrics.jsonl*", "events.out.tfevents.*"),
  *("curves.png", "sample.txt", "report.html", files.PARTIAL),
)
# What stands in the folder beside the run: held while it trains; launch.train's notes.
LOCK, GANG = ".lock", "gang"


def check(
  experiment: str, settings: dict[str, Any], vocabulary: Vocabulary, data: str
) -> None:
  """Refuses what `prepare` would refuse, and writes nothing.

  Raises:
    BadInput: if the folder holds another run, or something that is no run.
  """
  path = Path(FLAGS.workdir)
  if path.is_dir():
    _refuse_another(path, identity.identity(experiment, settings, vocabulary, data))


def prepare(
  experiment: str, settings: dict[str, Any], vocabulary: Vocabulary, data: str
) -> Path:
  """Makes the folder of a new run, or opens that of the same run, and keeps others out.

  No other process can train there until this one has ended.

  Args:
    experiment: its name.
    settings: the flags that make the run what it is.
    vocabulary: saved beside the configuration.
    data: sha256 of the corpus.

  Returns:
    The folder.

  Raises:
    BadInput: if the folder holds another run, or something that is no run.
    Busy: if another process trains there.
    OSError: if it cannot be written.
  """
  stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
  path = Path(FLAGS.workdir or Path("runs", experiment, stamp))
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise BadInput(
      f"--workdir={path} cannot be made ({error.strerror}): give another folder"
    ) from None
  wanted = identity.identity(experiment, settings, vocabulary, data)
  _refuse_another(path, wanted)  # before anything is written
  _lock(path)
  _refuse_another(path, wanted)  # whoever had the lock may have begun one
  if FLAGS.overwrite:
    _clear(path)
  # Also where a run goes on, whose file may be gone or another's by now.
  files.write(path / VOCABULARY, vocabulary.to_json())
  if (path / CONFIG).exists():
    return path
  # Last: a folder with a configuration is a whole run.
  identity.write(path, wanted)
  return path


def existing(experiment: str, own: tuple[str, ...] = ()) -> tuple[Path, Vocabulary]:
  """Opens the run of --workdir and takes over its flags.

  Args:
    experiment: its name.
    own: flags that this call may have of its own.

  Returns:
    The folder and the run's vocabulary.

  Raises:
    BadInput: if there is no such run, or a flag given contradicts it.
  """
  if FLAGS.arms:
    raise BadInput("--arms is for --mode=train: read one of its runs with --workdir")
  if not FLAGS.workdir:
    runs = sorted(Path("runs", experiment).glob(f"*/{CONFIG}"), key=os.path.getmtime)
    latest = f", such as --workdir={runs[-1].parent}" if runs else ""
    raise BadInput(f"--mode={FLAGS.mode} needs --workdir, the run to read{latest}")
  path = Path(FLAGS.workdir)
  if not (path / CONFIG).exists():
    _refuse_nameless(path)
    raise BadInput(f"--workdir={path} holds no {CONFIG}: train there first")
  saved = identity.read(path)
  if saved["experiment"] != experiment:
    raise BadInput(
      f"--workdir={path} is a run of experiments.{saved['experiment']}: use that"
    )
  identity.adopt(path, saved, own)
  if sealed := checkpoint.run_of(path / CHECKPOINTS):
    step, config = sealed
    if differing := identity.differences(config, saved):
      raise BadInput(
        f"{path / CONFIG} is of another run than checkpoint {step}: it differs in "
        f"{', '.join(differing)}; restore it"
      )
  restore = "restore it, or train on there, which writes it anew"
  try:
    text = (path / VOCABULARY).read_text("utf-8")
  except FileNotFoundError:
    raise BadInput(f"{path / VOCABULARY} is missing: {restore}") from None
  except UnicodeDecodeError:
    raise BadInput(f"{path / VOCABULARY} is not UTF-8 text: {restore}") from None
  vocabulary = Vocabulary.from_json(text, str(path / VOCABULARY))
  if vocabulary.digest() != saved["vocabulary"]:
    raise BadInput(
      f"{path / VOCABULARY} is not the vocabulary that the run was trained with: "
      f"{restore}"
    )
  return path, vocabulary


def checkpoints(path: Path) -> checkpoint.Checkpoints:
  """What writes the checkpoints of a run, each with the configuration of the run."""
  return checkpoint.Checkpoints(path / CHECKPOINTS, FLAGS.keep, identity.read(path))


def command(experiment: str) -> str:
  """What repeats this run in a folder of its own: the flags that were given."""
  given = [FLAGS[name] for name in FLAGS if FLAGS[name].present]
  own = [flag for flag in given if flag.name not in ("workdir", "overwrite", "json")]
  texts = [flag.serialize() for flag in own]
  return shlex.join(["python", "-m", f"experiments.{experiment}", *texts])


def _refuse_another(path: Path, wanted: dict[str, Any]) -> None:
  if FLAGS.overwrite and (path / CONFIG).exists():
    return
  if (path / CONFIG).exists():
    _same_run(path, "", identity.read(path), wanted)
    if sealed := checkpoint.run_of(path / CHECKPOINTS):
      _same_run(path, f"checkpoint {sealed[0]} of ", sealed[1], wanted)
    return
  beside = (LOCK, GANG)
  names = [e.name for e in path.iterdir() if not (_is_ours(e) or e.name in beside)]
  if names:
    raise BadInput(
      f"--workdir={path} holds {min(names)} and no run: give an empty or new folder"
    )
  if not FLAGS.overwrite:
    _refuse_nameless(path)


def _refuse_nameless(path: Path) -> None:
  if found := checkpoint.steps(path / CHECKPOINTS):
    raise BadInput(
      f"--workdir={path} has checkpoints up to step {found[-1]}, but no {CONFIG} that "
      "says of which run: put it back from a copy, or from a new folder in which the "
      "run's own command with --steps=0 writes it; or start afresh with --overwrite"
    )


def _lock(path: Path) -> None:
  """Holds the folder until this process ends, however it does."""
  file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise Busy(
      f"--workdir={path} is being trained in by another process: wait for its end, or "
      "give another folder"
    ) from None
  except OSError:
    pass  # a file system without locks


def _same_run(
  path: Path, part: str, there: dict[str, Any], here: dict[str, Any]
) -> None:
  if differing := identity.differences(there, here):
    raise BadInput(
      f"--workdir={path} holds {part}another run: it differs in "
      f"{', '.join(differing)}; give another --workdir, or --overwrite to start afresh"
    )


def _is_ours(entry: Path) -> bool:
  return any(entry.match(pattern) for pattern in OURS)


def _clear(path: Path) -> None:
  # First what says which run it is: one half gone is never taken for a whole.
  for entry in sorted(path.iterdir(), key=lambda entry: entry.name != CONFIG):
    if _is_ours(entry):
      shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
