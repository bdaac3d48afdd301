"""What a person at the terminal gives, sees of a run, and how they stop it."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.session import gang
from experiments.session.output import as_json
from unroll import stops
from unroll.data import text
from unroll.loop import Budget
from unroll.run import Progress
from unroll.types import BadInput

LINES_EVERY = 5.0  # seconds between log lines where there is no terminal
STOPPING = "stopping after this step, with a checkpoint; once more stops at once\n"


_quiet = _detailed = False


def hush(quiet: bool, detailed: bool = False) -> None:
  """Has `say` and the display show nothing from now on, or again what they have.

  Args:
    quiet: whether they show nothing.
    detailed: whether `detail` tells.
  """
  global _quiet, _detailed
  _quiet, _detailed = quiet, detailed


def detailed() -> bool:
  """Whether `detail` tells."""
  return _detailed


def detail(message: str) -> None:
  """One line for those who ask why something is slow or odd."""
  if _detailed:
    warn(message)


def say(message: str) -> None:
  """One line for people, on standard error; of several processes one speaks."""
  if not _quiet:
    warn(message)


def warn(message: str) -> None:
  """The same of what is not as one would think; also where all else is quiet."""
  if gang.speaks():
    print(message, file=sys.stderr, flush=True)


def result(found: Any, asked: bool) -> None:
  """Ends standard output with one JSON object, if that was asked for."""
  if asked:
    print(as_json(found))


def given(file: str) -> bytes:
  """What a file holds, the setting `input`; standard input for "-" or nothing."""
  if file in ("", "-"):
    return sys.stdin.buffer.read()
  try:
    return Path(file).read_bytes()
  except OSError as error:
    raise BadInput(f"input={file} cannot be read ({error.strerror})") from None


def named(file: str, endings: Sequence[str], what: str) -> list[Path]:
  """The files of the setting `input`: a folder's, or by their names.

  Args:
    file: a file, or several with commas between; a folder; or "-", or nothing: their
      names on standard input, one a line.
    endings: in lower case, of the files of a folder that are meant.
    what: these files, as "WAVE files".

  Raises:
    BadInput: the folder has none.
  """
  if file in ("", "-"):
    lines = text.read_lines(given(file), f"--input={file}")
    return [Path(line.strip()) for line in lines if line.strip()]
  if Path(file).is_dir():
    inside = sorted(Path(file).iterdir())
    found = [path for path in inside if path.suffix.lower() in endings]
    if not found:
      raise BadInput(f"input={file} is a folder without {what}: give another")
    return found
  if Path(file).exists():
    return [Path(file)]
  return [Path(os.path.expanduser(one.strip())) for one in file.split(",")]


@contextlib.contextmanager
def extra(path: Path) -> Iterator[None]:
  """For a file that only shows a run: the run is whole without it."""
  try:
    yield
  except Exception as error:  # whatever a library finds wrong with it
    warn(f"{path} is missing: {error}")


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
  """Turns what asks for a stop into a question of the loop; twice is at once."""

  def tell() -> None:
    if gang.speaks():
      os.write(2, STOPPING.encode())  # print may be at work where the signal came

  # A signal that arrives after several processes have agreed to stop is ignored.
  with stops.collected(tell, deaf_after=gang.many()) as asked:
    yield lambda: bool(asked)


class Display:
  """A progress bar on a terminal, a line now and then elsewhere.

  Args:
    budget: when training ends.
    progress: where it starts.
    objective: the number of an evaluation that is shown, such as "val/loss".
    counted: the plural of what is counted for the speed.
  """

  def __init__(self, budget: Budget, progress: Progress, objective: str, counted: str):
    self._objective, self._counted = objective, counted
    self._timed = budget.steps is None
    total = budget.seconds if self._timed else budget.steps
    self._bar = tqdm(
      total=round(total) if total else None,
      initial=round(progress.seconds) if self._timed else progress.step,
      unit="s" if self._timed else "step",
      disable=_quiet or not sys.stderr.isatty(),
      bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
    )
    # Next to the training loss, that of the validation split needs no other name.
    self._label = objective.removesuffix("/loss").replace("_", " ")
    self._line_due = 0.0

  def __enter__(self) -> "Display":
    return self

  def __exit__(self, *error: Any) -> None:
    with contextlib.suppress(OSError):
      self._bar.close()

  def show(self, progress: Progress, loss: float, speed: float) -> None:
    """Shows where training is, if anyone can still read it."""
    text = f"step {progress.step:,} loss {loss:.3f}"
    if progress.last:
      text += f" {self._label} {progress.last[self._objective]:.3f}"
    text += f" {speed:,.0f} {self._counted}/s"
    with contextlib.suppress(OSError):
      if not self._bar.disable:
        self._bar.n = round(progress.seconds) if self._timed else progress.step
        self._bar.set_postfix_str(text)
      elif time.monotonic() >= self._line_due:
        say(f"{progress.seconds:6.1f}s {text}")
        self._line_due = time.monotonic() + LINES_EVERY
