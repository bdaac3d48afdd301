"""What a person at the terminal sees of a run, and how they stop it."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags
from tqdm import tqdm

from experiments.session import common, gang
from unroll import stops
from unroll.loop import Budget
from unroll.run import Progress

FLAGS = flags.FLAGS

LINES_EVERY = 5.0  # seconds between log lines where there is no terminal


STOPPING = "stopping after this step, with a checkpoint; once more stops at once\n"


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
  """Turns what asks for a stop into a question of the loop; twice is at once."""

  def tell() -> None:
    if gang.speaks():
      os.write(2, STOPPING.encode())  # print may be at work where the signal came

  # Whichever of several processes was asked first had all of them stop: what reaches
  # another only now, on its way out, asks for nothing more.
  with stops.collected(tell, deaf_after=FLAGS.processes > 1) as asked:
    yield lambda: bool(asked)


class Display:
  """A progress bar on a terminal, a line now and then elsewhere."""

  def __init__(self, budget: Budget, progress: Progress):
    self._timed = budget.steps is None
    total = budget.seconds if self._timed else budget.steps
    self._bar = tqdm(
      total=round(total) if total else None,
      initial=round(progress.seconds) if self._timed else progress.step,
      unit="s" if self._timed else "step",
      disable=not sys.stderr.isatty(),
      bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
    )
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
      text += f" val {progress.last['val/loss']:.3f}"
    text += f" {speed:,.0f} tokens/s"
    with contextlib.suppress(OSError):
      if not self._bar.disable:
        self._bar.n = round(progress.seconds) if self._timed else progress.step
        self._bar.set_postfix_str(text)
      elif time.monotonic() >= self._line_due:
        common.say(f"{progress.seconds:6.1f}s {text}")
        self._line_due = time.monotonic() + LINES_EVERY
