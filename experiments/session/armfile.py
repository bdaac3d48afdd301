"""The file of --arms: what each run has of its own."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from experiments.session import common, kinds
from unroll import files
from unroll.train import Arm
from unroll.types import BadInput

FLAGS = common.FLAGS  # those of an arm among them
T = TypeVar("T")

kinds.DEFINE_path(
  "arms",
  "",
  "a JSON file of runs to train in one program, which differ in few numbers: "
  '[{"workdir": "a", "flags": {"seed": "1", "learning_rate": "0.01"}}, …]',
)


class Own(NamedTuple):
  """What an arm has of its own: its run folder, and some of `Arm`'s flags."""

  workdir: str
  flags: Mapping[str, Any]

  @contextlib.contextmanager
  def applied(self) -> Iterator[None]:
    """Makes the flags those of this arm."""
    own = {"workdir": self.workdir, **self.flags}
    before = {name: FLAGS[name].value for name in own}
    try:
      for name, value in own.items():
        setattr(FLAGS, name, value)
      yield
    finally:
      for name, value in before.items():
        FLAGS[name].value = value


def each(owns: Sequence[Own], do: Callable[[], T]) -> list[T]:
  """What `do` gives under the flags of each arm."""
  found = []
  for own in owns:
    with own.applied():
      found.append(do())
  return found


def read(path: str) -> list[Own]:
  """The arms of a file.

  Raises:
    BadInput: if there is none, or something in it is not what an arm has of its own.
  """
  try:
    content = json.loads(Path(path).read_text("utf-8"))
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise BadInput(f"--arms={path} cannot be read as JSON: {reason}") from None
  if not isinstance(content, list) or not content:
    raise BadInput(f'--arms={path} holds no list of {{"workdir": …, "flags": {{…}}}}')
  arms = []
  for number, entry in enumerate(content):
    match entry:
      case {"workdir": str(folder), "flags": dict(given), **rest} if (
        folder and not rest
      ):
        own = {name: _parsed(path, number, name, given[name]) for name in given}
        arms.append(Own(_folder(path, number, folder), own))
      case _:
        raise BadInput(
          f'--arms={path}, arm {number}: give {{"workdir": "…", "flags": {{…}}}} and '
          f"nothing else, not {json.dumps(entry)[:60]}"
        )
  folders = [Path(arm.workdir).resolve() for arm in arms]
  for place in folders:
    if folders.count(place) > 1:
      raise BadInput(f"--arms={path}: two arms share {place}: give each its own")
  return arms


def _folder(path: str, number: int, workdir: str) -> str:
  try:
    return files.expanded(workdir)
  except BadInput as error:
    raise BadInput(f"--arms={path}, arm {number}: {error}") from None


def _parsed(path: str, number: int, name: str, value: Any) -> Any:
  if name not in Arm._fields:
    raise BadInput(
      f"--arms={path}, arm {number}: --{name} makes another program; "
      f"what may differ is {', '.join(Arm._fields)}"
    )
  try:
    return FLAGS[name].parser.parse(str(value))
  except (ValueError, TypeError) as error:
    raise BadInput(f"--arms={path}, arm {number}: --{name}={value}: {error}") from None


def refuse_flags() -> None:
  """Refuses flags that arms cannot share.

  Raises:
    BadInput: for one.
  """
  if FLAGS.workdir:
    raise BadInput(
      f"--workdir={FLAGS.workdir}: each arm of --arms has its own; drop it"
    )
  if FLAGS.minutes is not None:
    raise BadInput(
      f"--minutes={FLAGS.minutes}: how far an arm comes in that time depends on the "
      "others; give --steps or --epochs"
    )
  if FLAGS.patience:
    raise BadInput(
      f"--patience={FLAGS.patience}: arms end together, and would run out of it at "
      "different steps; drop it"
    )
