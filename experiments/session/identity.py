"""What a run is: `config.json`, and the same sealed into each of its checkpoints.

All flags of a run stand there, but not all make it another run. How far it goes, how
often it is looked at and what its steps cost may differ from one call to the next: the
file has the current values, and under "history" those that held until a step.
"""

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from absl import flags

from experiments.session import common
from unroll import files
from unroll.data import corpora
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

FLAGS = flags.FLAGS

CONFIG = "config.json"

Config = dict[str, Any]


def identity(
  experiment: str, settings: dict[str, Any], vocabulary: Vocabulary, data: str
) -> Config:
  """What a run of the flags would be.

  Args:
    experiment: its name.
    settings: its flags, `common.config`.
    vocabulary: what its tokens are.
    data: sha256 of the corpus.
  """
  return {
    "experiment": experiment,
    "flags": _plain(settings),  # as JSON reads it back: tuples are lists there
    "data": data,
    "vocabulary": vocabulary.digest(),
  }


def write(path: Path, config: Config) -> None:
  """Writes the configuration of a new run into its folder."""
  names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
  versions = {name: importlib.metadata.version(name) for name in names}
  versions["python"] = platform.python_version()
  _write(path, {**config, "versions": versions})


def read(path: Path) -> Config:
  """The configuration of the run in a folder; BadInput if it is not one."""
  try:
    saved = json.loads((path / CONFIG).read_text("utf-8"))
  except (ValueError, RecursionError) as error:
    raise BadInput(f"{path / CONFIG} is not JSON ({error}): restore it") from None
  match saved:
    case {"experiment": str(), "flags": dict(), "data": str(), "vocabulary": str()}:
      versions, history = saved.get("versions", {}), saved.get("history", [])
      if isinstance(versions, dict) and isinstance(history, list):
        for name in saved["flags"].keys() & set(FLAGS):
          _checked(path / CONFIG, name, saved["flags"][name])
        return saved
  raise BadInput(f"{path / CONFIG} is not the configuration of a run: restore it")


def differences(there: Config, here: Config) -> list[str]:
  """What makes `here` another run than `there`, in words; empty for the same one."""
  before, now = there["flags"], here["flags"]
  same_text = there["data"] == here["data"]
  free = common.MAY_CHANGE | ({"corpus"} if same_text else set())
  differing = [
    f"--{name} (there {_of(before, name)}, here {_of(now, name)})"
    for name in sorted((before.keys() | now.keys()) - free)
    if not _same(_of(before, name), _of(now, name))
  ]
  if there["experiment"] != here["experiment"]:
    differing.insert(0, f"the experiment (there {there['experiment']})")
  if not differing and not same_text:
    differing.append("the text of --corpus, which has changed")
  if not differing and _parts(before) != _parts(now):
    differing.append("the official split of --corpus")
  if not differing and there["vocabulary"] != here["vocabulary"]:
    differing.append("its vocabulary")
  return differing


def adopt(path: Path, saved: Config, own: tuple[str, ...]) -> None:
  """Makes the flags those of a run.

  Args:
    path: its folder.
    saved: its configuration.
    own: flags that this call may have of its own.

  Raises:
    BadInput: if a flag that was given contradicts the run.
  """
  moved = None
  for name, value in saved["flags"].items():
    if name not in FLAGS:
      raise BadInput(f"{path / CONFIG} has a flag --{name} that does not exist here")
    value = _checked(path / CONFIG, name, value)
    flag = FLAGS[name]
    if flag.present and not _same(_plain(flag.value), value):
      if name in common.MAY_CHANGE or name in own:
        continue
      if name == "corpus":
        moved = value
        continue
      raise _contradicts(path, name, value)
    flag.value = value
  if moved is not None:
    text = corpora.load(FLAGS.corpus, FLAGS.tokenizer)
    if text.digest != saved["data"] or _parts(saved["flags"]) != _parts(_given()):
      raise _contradicts(path, "corpus", moved)


def update(path: Path, step: int) -> dict[str, tuple[Any, Any]]:
  """Has the configuration say what holds from now on, and what held until `step`.

  Returns:
    What has changed: flag -> (before, now).
  """
  saved, current = read(path), _given()
  before = {
    name: _of(saved["flags"], name)
    for name, value in current.items()
    if _of(saved["flags"], name) != value
  }
  if before:
    if step:
      held = {"until_step": step, "flags": before}
      saved["history"] = [*saved.get("history", []), held]
    saved["flags"] |= {name: current[name] for name in before}
    _write(path, saved)
  return {name: (value, current[name]) for name, value in before.items()}


def _given() -> dict[str, Any]:
  """The flags that may differ from one call on a run to the next."""
  names = sorted({*common.MAY_CHANGE, "corpus"})
  return _plain({name: FLAGS[name].value for name in names})


def _of(settings: dict[str, Any], name: str) -> Any:
  """A flag of a run; one that is younger than the run was as by default."""
  if name in settings or name not in FLAGS:
    return settings.get(name)
  return _plain(FLAGS[name].default)


def _parts(settings: dict[str, Any]) -> int:
  """Of how many texts a corpus consists: an official split has three."""
  entry = corpora.CORPORA.get(str(settings.get("corpus")))
  return len(entry.files) if entry else 1


def _same(one: Any, other: Any) -> bool:
  return one == other or (one != one and other != other)


def _contradicts(path: Path, name: str, value: Any) -> BadInput:
  return BadInput(
    f"--{name}={FLAGS[name].value} contradicts the run in {path}, which has {value}: "
    "drop the flag"
  )


def _checked(where: Path, name: str, value: Any) -> Any:
  """A value of a flag as JSON has it, if the flag takes it."""
  flag = FLAGS[name]
  try:
    if value is None:
      good = flag.default is None
    else:
      good = isinstance(value, bool) == flag.boolean
      good &= not isinstance(value, list) or all(isinstance(v, str) for v in value)
      found = flag.parser.parse(value)
      # A path is written out; NaN is no number that equals itself.
      good &= isinstance(found, str) or _same(found, value)
      value = found if good else value
  except (TypeError, ValueError, OverflowError):
    good = False
  allowed = getattr(flag.parser, "enum_values", None)
  if not good and allowed and isinstance(value, str):
    raise BadInput(
      f"{where} has --{name}={value}, which is none of {', '.join(allowed)} here: use "
      "the program that trained the run"
    )
  if not good:
    raise BadInput(
      f"{where} has {json.dumps(value)} for --{name}, which is no value of it: restore "
      "the file"
    )
  return value


def _write(path: Path, config: Config) -> None:
  files.write(path / CONFIG, json.dumps(config, indent=2) + "\n")


def _plain(value: Any) -> Any:
  return json.loads(json.dumps(value))
