"""CSV files: taken apart into cells that know their line, and written."""

import codecs
import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import NDArray

from unroll.data.series.value import Series
from unroll.types import BadInput

_SEPARATORS = ",;\t"


class Row(NamedTuple):
  """One row of a table: the line where it starts, and its cells."""

  line: int
  cells: list[str]


class Table(NamedTuple):
  """A CSV file as text: where it is, its header, its rows."""

  where: str
  header: list[str]
  rows: list[Row]


def read_table(data: bytes, where: str) -> Table:
  """Takes a CSV file apart: UTF-8, a header line, commas, semicolons or tabs.

  Args:
    data: the file.
    where: what to name in `BadInput`.

  Raises:
    BadInput: not UTF-8, no rows, or a row of another width than the header.
  """
  try:
    text = data.removeprefix(codecs.BOM_UTF8).decode()
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise BadInput(f"{where}, line {line} is not UTF-8: convert the file") from None
  first = next(filter(str.strip, text.splitlines()), "")
  separator = max(_SEPARATORS, key=first.count)
  reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
  rows, start = [], 1
  try:
    for cells in reader:
      if any(cell.strip() for cell in cells):
        rows.append(Row(start, cells))
      start = reader.line_num + 1
  except csv.Error as error:
    raise BadInput(f"{where}, line {start} is not CSV: {error}") from None
  if len(rows) < 2:
    raise BadInput(f"{where} has no row below a header: give a CSV file with both")
  header = [cell.strip() for cell in rows[0].cells]
  for row in rows[1:]:
    if len(row.cells) != len(header):
      raise BadInput(
        f"{where}, line {row.line} has {len(row.cells)} cells, and the header "
        f"{len(header)}: give every row as many"
      )
  return Table(where, header, rows[1:])


def forecast_csv(
  series: Series, origin: int, forecast: NDArray, quantiles: Sequence[float] = ()
) -> str:
  """Forecasts as a CSV text: the stamp, then the columns, each with its quantiles.

  Args:
    series: what was forecast; its own units.
    origin: the row of the first forecast step.
    forecast: `[K, C, Q]`; Q is 1 where there are no quantiles.
    quantiles: the Q levels; `OT_q0.1` is the column of level 0.1 of `OT`.
  """
  out = io.StringIO(newline="")
  writer = csv.writer(out, lineterminator="\n")
  names = series.columns[: series.targets]
  levels = [f"_q{level:g}" for level in quantiles] or [""]
  writer.writerow(["time", *(name + level for name in names for level in levels)])
  for k, row in enumerate(forecast.reshape(len(forecast), -1)):
    writer.writerow([series.stamp(origin + k), *(f"{x:.9g}" for x in row)])
  return out.getvalue()
