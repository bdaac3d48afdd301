"""A trial's learning curve: the records of its runs thinned and put together."""

import bisect
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from launch.main import say
from unroll import records as log
from unroll.records import Record, measured

# A run that ended a little before the others still counts at their last step: under a
# budget of minutes no two seeds end at the same one.
REACH = 1.05


class Series(NamedTuple):
  """Rising steps, and a value at each; None where it was not finite."""

  steps: list[float]
  values: list[float | None]


def read(path: Path) -> list[Record]:
  """The records of a `metrics.jsonl`, as many as there are; damaged lines are named.

  A page shows what is left of a run: a missing file has no records.
  """
  try:
    return log.read(path, warn=say)
  except OSError:
    return []


def curve(runs: Sequence[list[Record]], name: str, points: int) -> list[list] | None:
  """The mean over runs of one metric.

  Args:
    runs: the records of each run.
    name: of the metric, such as "val/loss".
    points: at most so many; a point is then the mean over its stretch of steps.

  Returns:
    Columns: steps, seconds, mean, lowest and highest of the runs. A mean is None where
    no run was finite, a second where none was logged. None if nothing was measured.
  """
  logged = [(_series(records, name), _seconds(records)) for records in runs]
  logged = [(series, seconds) for series, seconds in logged if series.steps]
  if not logged:
    return None
  thin = [_thinned(series, points) for series, _ in logged]
  last = statistics.median_high([series.steps[-1] for series in thin])
  grid = sorted({step for series in thin for step in series.steps if step <= last})
  grid = _thinned(Series(grid, [*grid]), points).steps
  rows = []
  for step in grid:
    values = [x for series in thin if (x := _at(series, step)) is not None]
    seconds = [x for _, marks in logged if (x := _at(marks, step)) is not None]
    rows.append(
      (
        round(step),
        _short(statistics.fmean(seconds)) if seconds else None,
        _short(statistics.fmean(values)) if values else None,
        _short(min(values)) if values else None,
        _short(max(values)) if values else None,
      )
    )
  return [list(column) for column in zip(*rows)]


def _series(records: list[Record], name: str) -> Series:
  found = dict(measured(records, name))
  steps = sorted(found)
  return Series([*steps], [found[step] for step in steps])


def _seconds(records: list[Record]) -> Series:
  """Wall clock by step: where training began, and at each mark of the speed."""
  marks = _series(records, "seconds")
  began = _series(records, "start_seconds")
  if began.steps and (not marks.steps or began.steps[0] < marks.steps[0]):
    return Series(began.steps[:1] + marks.steps, began.values[:1] + marks.values)
  return marks


def _thinned(series: Series, points: int) -> Series:
  """Means over equal numbers of steps."""
  width = math.ceil(len(series.steps) / points)
  if width <= 1:
    return series
  steps, values = [], []
  for i in range(0, len(series.steps), width):
    finite = [x for x in series.values[i : i + width] if x is not None]
    steps.append(statistics.fmean(series.steps[i : i + width]))
    values.append(statistics.fmean(finite) if finite else None)
  return Series(steps, values)


def _at(series: Series, step: float) -> float | None:
  """The value at a step, between its neighbours on a straight line."""
  steps, values = series
  if not steps or step > REACH * steps[-1]:
    return None
  i = min(bisect.bisect_left(steps, step), len(steps) - 1)
  right = values[i]
  if i == 0 or step >= steps[i]:
    return right
  left = values[i - 1]
  if left is None or right is None:
    return None
  return left + (right - left) * (step - steps[i - 1]) / (steps[i] - steps[i - 1])


def _short(value: float) -> float:
  return float(f"{value:.5g}")
