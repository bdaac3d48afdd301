"""A series from a table: numbers in the order of time, one row a tick, faults named."""

import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.series import stamps
from unroll.data.series.gaps import GAPS
from unroll.data.series.stamps import Clock, Stamp
from unroll.data.series.value import Series
from unroll.data.table import Row, Table, read_table
from unroll.errors import guess
from unroll.types import BadInput

MISSING = ("", "-", "?", "na", "n/a", "nan", "null", "none")
_SPARSEST = 20  # times for each row: beyond that most of a series would be made up


def load(path: str | pathlib.Path, **options: Any) -> Series:
  """The series in a CSV file; `options` are those of `series`.

  Raises:
    BadInput: the file cannot be read, or what `series` says.
  """
  try:
    data = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise BadInput(
      f"{path} cannot be read ({error.strerror}): give a readable CSV file"
    ) from error
  return series(read_table(data, str(path)), **options)


def series(
  table: Table,
  *,
  targets: Sequence[str] = (),
  time: str = "",
  inputs: Sequence[str] = (),
  gaps: str = "refuse",
  time_format: str = "",
  warn: Callable[[str], object] = warnings.warn,
) -> Series:
  """The series of a table: numbers in the order of time, one row a tick.

  Rows may come in any order where they have stamps. A time that no row has, and an
  empty cell (or NA, NaN, ?, -, null), is a missing value.

  Args:
    table: what `read_table` returns.
    targets: the columns to forecast; none: the only one beside the time.
    time: the column of stamps; "" numbers the rows from 0.
    inputs: columns that the forecast may look back on.
    gaps: what is done with missing values: "refuse", "forward" or "linear", see
      `gaps.filled`.
    time_format: how `strptime` reads the stamps; "" for ISO dates, months, numbers.
    warn: called with one sentence if the rows had to be sorted.

  Raises:
    BadInput: a column that is not there, text in a column of numbers, a stamp that is
      none, is there twice or lies between two ticks, a missing value to refuse, or
      one before the first value of its column.
  """
  if gaps not in GAPS:
    raise BadInput(f"gaps={gaps}: choose one of {', '.join(GAPS)}")
  names = _columns(table, tuple(targets), time, tuple(inputs))
  values = np.stack([numbers(table, name) for name in names], axis=1)
  clock, ticks = Clock("integer", 0, 1), np.arange(len(values))
  if time:
    clock, ticks, order = _clock(table, time, time_format, warn)
    table = table._replace(rows=[table.rows[i] for i in order])
    values = values[order]
  _check_whole(table, clock, ticks, names, values, gaps)
  if ticks[-1] >= _SPARSEST * len(ticks):
    raise BadInput(
      f"{table.where} has rows for {len(ticks)} of {ticks[-1] + 1} times, which are "
      f"{clock.every()} apart: too few to fill the others; correct the times"
    )
  regular = np.full((ticks[-1] + 1, len(names)), np.nan)
  regular[ticks] = values
  return Series(table.where, clock, names, len(names) - len(inputs), regular, gaps)


def _columns(
  table: Table, targets: tuple[str, ...], time: str, inputs: tuple[str, ...]
) -> tuple[str, ...]:
  """The names of the columns of numbers: targets, then inputs."""
  rest = [name for name in table.header if name != time and name not in inputs]
  if not targets and len(rest) == 1:
    targets = tuple(rest)
  if not targets:
    raise BadInput(
      f"{table.where} has the columns {', '.join(table.header)}: name the target, the "
      "one to forecast"
    )
  named = (*targets, *inputs)
  for name in (*named, *([time] if time else [])):
    if (count := table.header.count(name)) > 1:
      raise BadInput(f"{table.where} has {count} columns {name!r}: rename all but one")
    if not count:
      raise BadInput(
        f"{table.where} has no column {name!r}: it has {', '.join(table.header)}"
        f"{guess(repr(name), map(repr, table.header))}"
      )
    if (*named, time).count(name) > 1:
      raise BadInput(
        f"column {name!r} of {table.where} is asked for twice: it can be the time, a "
        "target or an input"
      )
  return named


def numbers(table: Table, name: str) -> NDArray[np.float64]:
  """A column as numbers `[N]`, NaN where a cell is empty.

  Raises:
    BadInput: a cell holds something else.
  """
  column, found = table.header.index(name), []
  for row in table.rows:
    text = row.cells[column].strip()
    if text.lower() in MISSING:
      found.append(np.nan)
    elif stamps.NUMBER.fullmatch(text) and np.isfinite(number := float(text)):
      found.append(number)
    else:
      raise BadInput(
        f"{table.where}, line {row.line}, column {name}: {text!r} is not a number: "
        "write it such as -1.5e3, or leave the cell empty if it is missing"
      )
  return np.array(found)


def _clock(
  table: Table, name: str, form: str, warn: Callable[[str], object]
) -> tuple[Clock, NDArray[np.int64], list[int]]:
  """The clock, the tick of each row in order, and that order."""
  column = table.header.index(name)

  def place(row: Row) -> str:
    return f"{table.where}, line {row.line}, column {name}: {row.cells[column]!r}"

  found = []
  for row in table.rows:
    stamp = stamps.read(row.cells[column], form)
    if stamp is None:
      wanted = f"of the form {form}" if form else f"such as {stamps.FORMATS}"
      raise BadInput(f"{place(row)} is not a time {wanted}")
    found.append(stamp)
  found = _of_one_kind(found, table, place)
  order = sorted(range(len(found)), key=lambda i: found[i].at)
  ordered, rows = [found[i] for i in order], [table.rows[i] for i in order]
  for before, after, one, two in zip(ordered, ordered[1:], rows, rows[1:]):
    if before.at == after.at:
      raise BadInput(
        f"{place(two)} stands already in line {one.line}: keep one row of that time"
      )
  if order != list(range(len(order))):
    first = next(i for i, at in enumerate(order) if i != at)
    warn(
      f"{place(table.rows[first])} is out of order: all rows are sorted by their time"
    )
  clock = stamps.clock(ordered, form)
  ticks = stamps.ticks(clock, ordered)
  for tick, row in zip(ticks, rows):
    if tick < 0:
      raise BadInput(
        f"{place(row)} is off the grid: most rows are {clock.every()} apart from "
        f"{clock.write(0)} on; make the times regular first"
      )
  return clock, ticks, order


def _of_one_kind(
  found: list[Stamp], table: Table, place: Callable[[Row], str]
) -> list[Stamp]:
  """The stamps with integers among floats, and dates among times, as those."""
  kinds = {stamp.kind for stamp in found}
  for narrow, wide in (("integer", "float"), ("date", "time")):
    if kinds == {narrow, wide}:
      return [Stamp(wide, stamp.at) for stamp in found]  # type: ignore[arg-type]
  for stamp, row in zip(found, table.rows):
    if stamp.kind != found[0].kind:
      raise BadInput(
        f"{place(row)} is of another kind than the time in line {table.rows[0].line}: "
        "write all times alike"
      )
  return found


def _check_whole(
  table: Table,
  clock: Clock,
  ticks: NDArray[np.int64],
  names: tuple[str, ...],
  values: NDArray[np.float64],
  gaps: str,
) -> None:
  """Refuses what is missing before the first value, or anywhere."""
  for column, name in enumerate(names):
    there = np.isfinite(values[:, column])
    if there.all():
      continue
    line = table.rows[int(np.argmin(there))].line
    what = f"{table.where}, line {line}, column {name}: the value is missing"
    if not there[0]:
      raise BadInput(
        f"{what}, and so is all before it: nothing can fill it; begin the file where "
        "every column has values"
      )
    if gaps == "refuse":
      raise BadInput(f"{what}{_more(len(there) - there.sum())}; {_FILL}")
  jumps = np.flatnonzero(np.diff(ticks) > 1)
  if jumps.size and gaps == "refuse":
    before, after = (table.rows[int(jumps[0]) + i].line for i in (0, 1))
    absent = clock.write(int(ticks[jumps[0]]) + 1)
    count = ticks[-1] + 1 - len(ticks)
    raise BadInput(
      f"{table.where}: no row for {absent} between lines {before} and {after}, where "
      f"rows are {clock.every()} apart{_more(count)}; {_FILL}"
    )


_FILL = "fill it in, or choose gaps=forward or gaps=linear"


def _more(count: int) -> str:
  return f" ({count} are)" if count > 1 else ""
