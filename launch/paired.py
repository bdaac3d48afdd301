"""Values of flags compared at equal seeds, in pairs; runs that diverged count as such.

Two trials that differ in the compared flags alone have runs of the same seeds: the same
data in the same order, often the same start. The difference of a pair varies less than
its two values do.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

from unroll.errors import BadInput

# The 97.5 % points of Student's distribution, from one degree of freedom on.
STUDENT = (
  *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
  *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
  *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
NORMAL = 1.960


class Comparison(NamedTuple):
  """A trial beside another, over the seeds that both were run with.

  Attributes:
    seeds: how many.
    diverged: of this trial's runs, those that came to no finite number.
    median: of its runs; one that diverged is worse than any other.
    better: pairs in which it is the better one; who diverged is the worse.
    difference: the mean of its values less the other's, over `pairs`; None of none.
    half: half the width of the 95 % interval of that mean, by Student's distribution;
      None of fewer than two pairs.
    pairs: those of which neither diverged.
  """

  seeds: int
  diverged: int
  median: float
  better: int
  difference: float | None
  half: float | None
  pairs: int


def compared(
  own: Mapping[int, float | None],
  other: Mapping[int, float | None],
  *,
  maximize: bool = False,
) -> Comparison:
  """Compares the values of two trials by seed; None of a run that diverged."""
  sign = -1 if maximize else 1
  seeds = sorted(own.keys() & other.keys())
  mine, theirs = ([_cost(of[seed], sign) for seed in seeds] for of in (own, other))
  both = list(zip(mine, theirs))
  changes = [sign * (a - b) for a, b in both if max(a, b) < math.inf]
  half = None
  if len(changes) > 1:
    freedom = len(changes) - 1
    point = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL
    half = point * statistics.stdev(changes) / math.sqrt(len(changes))
  return Comparison(
    seeds=len(seeds),
    diverged=mine.count(math.inf),
    median=sign * statistics.median(mine) if mine else math.nan,
    better=sum(a < b for a, b in both),
    difference=statistics.fmean(changes) if changes else None,
    half=half,
    pairs=len(changes),
  )


def _cost(value: float | None, sign: int) -> float:
  return math.inf if value is None else sign * value


def by_seed(trial: Mapping[str, Any], name: str) -> dict[int, float | None]:
  """The number of each run of a trial that has ended, by its seed."""
  found: dict[int, float | None] = {}
  for run in trial["runs"]:
    if summary := run.get("summary"):
      value = summary.get(name)
      finite = isinstance(value, int | float) and math.isfinite(value)
      found[run["seed"]] = float(value) if finite else None
    elif run.get("error"):
      found[run["seed"]] = None
  return found


def tables(result: Mapping[str, Any], names: Sequence[str]) -> Iterable[Table]:
  """A table for each choice of the other flags, its trials beside the first of them.

  Args:
    result: the `trials.json` of a sweep.
    names: the flags that are compared.

  Raises:
    BadInput: one of them was not swept.
  """
  trials = [trial for trial in result["trials"] if trial.get("runs")]
  swept = list(dict.fromkeys(name for trial in trials for name in trial["params"]))
  if strange := [name for name in names if name not in swept]:
    raise BadInput(
      f"--compare={strange[0]} is not swept here: choose of {', '.join(swept)}"
    )
  rest = [name for name in swept if name not in names]
  groups: dict[tuple, list[Mapping[str, Any]]] = {}
  for trial in sorted(trials, key=lambda trial: trial["slot"]):
    key = tuple((n, trial["params"][n]) for n in rest if n in trial["params"])
    groups.setdefault(key, []).append(trial)
  objective, maximize = result["objective"][0], result["directions"][0] == "maximize"
  for key, members in groups.items():
    yield _table(key, members, names, objective, maximize)


def _table(
  key: Sequence[tuple[str, Any]],
  members: Sequence[Mapping[str, Any]],
  names: Sequence[str],
  objective: str,
  maximize: bool,
) -> Table:
  where = " ".join(f"--{name}={value}" for name, value in key)
  title = f"{objective}{', ' if where else ''}{where}: beside the first, 95 %"
  grid = Table(title=title, title_justify="left", title_style="")
  for name in (*names, "diverged", "median", "better", "difference", "±", "pairs"):
    grid.add_column(name, justify="right")
  first = by_seed(members[0], objective)
  for number, trial in enumerate(members):
    found = compared(by_seed(trial, objective), first, maximize=maximize)
    beside = ("", "", "", "")
    if number:
      change = "" if found.difference is None else f"{found.difference:+.4g}"
      half = "" if found.half is None else f"{found.half:.2g}"
      beside = (f"{found.better} of {found.seeds}", change, half, str(found.pairs))
    grid.add_row(
      *(str(trial["params"].get(name, "")) for name in names),
      f"{found.diverged} of {found.seeds}",
      f"{found.median:.4g}",
      *beside,
    )
  return grid
