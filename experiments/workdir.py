"""A run's folder: made, recognised, refused."""

import fcntl
import importlib.metadata
import json
import os
import platform
import secrets
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

from absl import flags

from experiments.gang import Busy
from unroll import files
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

FLAGS = flags.FLAGS

CONFIG, VOCABULARY, CHECKPOINTS = "config.json", "vocab.json", "checkpoints"
# All that a run writes: what --overwrite may delete, and nothing else.
OURS = (
  *(CONFIG, VOCABULARY, CHECKPOINTS, "metrics.jsonl", "events.out.tfevents.*"),
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
    _refuse_another(path, _identity(experiment, settings, vocabulary, data))


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
  wanted = _identity(experiment, settings, vocabulary, data)
  _refuse_another(path, wanted)  # before anything is written
  _lock(path)
  _refuse_another(path, wanted)  # whoever had the lock may have begun one
  if FLAGS.overwrite:
    _clear(path)
  # Also where a run goes on, whose file may be gone or another's by now.
  files.write(path / VOCABULARY, vocabulary.to_json())
  if (path / CONFIG).exists():
    return path
  versions = {
    name: importlib.metadata.version(name)
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
  }
  versions["python"] = platform.python_version()
  # Last: a folder with a configuration is a whole run.
  files.write(
    path / CONFIG, json.dumps({**wanted, "versions": versions}, indent=2) + "\n"
  )
  return path


def existing(experiment: str) -> tuple[Path, Vocabulary]:
  """Opens the run of --workdir and takes over its flags.

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
    raise BadInput(f"--workdir={path} holds no {CONFIG}: train there first")
  saved = read_config(path)
  if saved["experiment"] != experiment:
    raise BadInput(
      f"--workdir={path} is a run of experiments.{saved['experiment']}: use that"
    )
  for name, value in saved["flags"].items():
    if name not in FLAGS:
      raise BadInput(f"{path / CONFIG} has a flag --{name} that does not exist here")
    if FLAGS[name].present and _plain(FLAGS[name].value) != value:
      raise BadInput(
        f"--{name}={FLAGS[name].value} contradicts the run in {path}, which has "
        f"{value}: drop the flag"
      )
    FLAGS[name].value = value
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


def read_config(path: Path) -> dict[str, Any]:
  """The configuration of a run; BadInput if it is not one."""
  try:
    saved = json.loads((path / CONFIG).read_text("utf-8"))
  except ValueError as error:
    raise BadInput(f"{path / CONFIG} is not JSON ({error}): restore it") from None
  match saved:
    case {"experiment": str(), "flags": dict(), "data": str(), "vocabulary": str()}:
      return saved
  raise BadInput(f"{path / CONFIG} is not the configuration of a run: restore it")


def command(experiment: str) -> str:
  """What repeats this run in a folder of its own: the flags that were given."""
  given = [FLAGS[name] for name in FLAGS if FLAGS[name].present]
  own = [flag for flag in given if flag.name not in ("workdir", "overwrite", "json")]
  texts = [flag.serialize() for flag in own]
  return shlex.join(["python", "-m", f"experiments.{experiment}", *texts])


def _refuse_another(path: Path, wanted: dict[str, Any]) -> None:
  if (path / CONFIG).exists():
    if not FLAGS.overwrite:
      _same_run(path, read_config(path), wanted)
    return
  beside = (LOCK, GANG)
  names = [e.name for e in path.iterdir() if not (_is_ours(e) or e.name in beside)]
  if names:
    raise BadInput(
      f"--workdir={path} holds {min(names)} and no run: give an empty or new folder"
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


def _identity(
  experiment: str, settings: dict[str, Any], vocabulary: Vocabulary, data: str
) -> dict[str, Any]:
  return {
    "experiment": experiment,
    "flags": _plain(settings),  # as JSON reads it back: tuples are lists there
    "data": data,
    "vocabulary": vocabulary.digest(),
  }


def _same_run(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
  before, now = saved["flags"], wanted["flags"]
  differing = [
    f"--{name} (there {before.get(name)}, here {now.get(name)})"
    for name in sorted(before.keys() | now.keys())
    if before.get(name) != now.get(name)
  ]
  if saved["experiment"] != wanted["experiment"]:
    differing.insert(0, f"the experiment (there {saved['experiment']})")
  if not differing and saved["data"] != wanted["data"]:
    differing.append("the text of --corpus, which has changed")
  if not differing and saved["vocabulary"] != wanted["vocabulary"]:
    differing.append(f"its {VOCABULARY}")
  if differing:
    raise BadInput(
      f"--workdir={path} holds another run: it differs in {', '.join(differing)}; give "
      "another --workdir, or --overwrite to start afresh"
    )


def _plain(value: Any) -> Any:
  return json.loads(json.dumps(value))


def _is_ours(entry: Path) -> bool:
  return any(entry.match(pattern) for pattern in OURS)


def _clear(path: Path) -> None:
  for entry in path.iterdir():
    if _is_ours(entry):
      shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
