"""A sweep as a table of text, for a terminal, by its `trials.json`; no JAX."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unroll.errors import BadInput
from unroll.records import number

TRIALS = "trials.json"


class Trial(NamedTuple):
  """One of a sweep's trials.

  Attributes:
    slot: its place, by which its runs' folders are named.
    state: of waiting, running, complete, pruned, failed.
    flags: its own, by name.
    value: of the first objective; NaN where there is none.
  """

  slot: int
  state: str
  flags: Mapping[str, str]
  value: float


class Sweep(NamedTuple):
  """A sweep as far as it has come.

  Attributes:
    objective: the number that it goes by.
    lower: whether less of it is better.
    trials: all that were begun.
  """

  objective: str
  lower: bool
  trials: Sequence[Trial]

  @property
  def ranked(self) -> list[Trial]:
    """The trials that have a value, the best first."""
    sign = 1 if self.lower else -1
    known = [trial for trial in self.trials if not math.isnan(trial.value)]
    return sorted(known, key=lambda trial: (sign * trial.value, trial.slot))

  def of(self, run: str) -> Trial | None:
    """The trial of a run's folder, by its name."""
    slots = {f"{trial.slot:04}": trial for trial in self.trials}
    return slots.get(run.partition("-")[0])

  def lines(self, width: int, most: int) -> list[str]:
    """How it stands: a line for all, and one for each of the best trials.

    Args:
      width: characters of a line, at the most.
      most: trials, at the most.
    """
    states = Counter(trial.state for trial in self.trials)
    told = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    best = self.ranked[:most]
    names = list(dict.fromkeys(name for trial in best for name in trial.flags))
    rows = [["trial", self.objective, *names]]
    for trial in best:
      values = [trial.flags.get(name, "") for name in names]
      rows.append([str(trial.slot), f"{trial.value:.4g}", *values])
    widths = [max(map(len, column)) for column in zip(*rows)]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    found = [f"{len(self.trials):,} trials: {told}", *(table if best else [])]
    return [line[:width] for line in found]


def read(folder: Path) -> Sweep | None:
  """The sweep of a folder; None where it holds none.

  Raises:
    BadInput: its `trials.json` is damaged.
  """
  path = folder / TRIALS
  if not path.is_file():
    return None
  try:
    told = json.loads(path.read_text("utf-8"))
    lower = told["directions"][0] == "minimize"
    trials = [_trial(one) for one in told["trials"]]
    return Sweep(_plain(told["objective"][0]), lower, trials)
  except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
    raise BadInput(
      f"{path} is damaged: move it away, and the sweep writes it anew as it goes on"
    ) from None


def _trial(told: Mapping[str, Any]) -> Trial:
  flags = {_plain(name): _plain(value) for name, value in told["params"].items()}
  value = number((told["values"] or [None])[0])
  state = _plain(told["state"])
  slot = int(_plain(told["slot"]))
  return Trial(slot, state, flags, math.nan if value is None else value)


def _plain(value: Any) -> str:
  """A text of one line, without what a terminal might obey."""
  text = f"{value:g}" if isinstance(value, float) else str(value)
  return "".join(letter for letter in text if letter.isprintable())
