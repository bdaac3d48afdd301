"""CSV and TSV files, taken apart into cells that know their line."""

import codecs
import csv
import io
from typing import NamedTuple

from unroll.data import text
from unroll.types import BadInput

_SEPARATORS = ",;\t"


class Row(NamedTuple):
  """One row of a table: the line where it starts, and its cells."""

  line: int
  cells: list[str]


class Table(NamedTuple):
  """A table as text: where it is, its header, its rows."""

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
    lines = data.removeprefix(codecs.BOM_UTF8).decode()
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise BadInput(f"{where}, line {line} is not UTF-8: convert the file") from None
  first = next(filter(str.strip, lines.splitlines()), "")
  separator = max(_SEPARATORS, key=first.count)
  reader = csv.reader(io.StringIO(lines, newline=""), delimiter=separator)
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
  return _headed(where, rows)


def read_tsv(data: bytes, where: str, header: bool = True) -> Table:
  """Takes a TSV file apart: UTF-8, a tab between cells, quotes are text.

  Args:
    data: the file.
    where: what to name in `BadInput`.
    header: whether the first line names the columns; else they are 1, 2, ….

  Raises:
    BadInput: not UTF-8, no rows, or rows of different widths.
  """
  rows = [
    Row(number, line.split("\t"))
    for number, line in enumerate(text.read_lines(data, where), 1)
    if line
  ]
  if not header and rows:
    rows = [Row(0, [str(i + 1) for i in range(len(rows[0].cells))]), *rows]
  if len(rows) < 2:
    raise BadInput(f"{where} has no row: give a TSV file that has some")
  return _headed(where, rows)


def _headed(where: str, rows: list[Row]) -> Table:
  """The table whose first row is its header."""
  header = [cell.strip() for cell in rows[0].cells]
  for row in rows[1:]:
    if len(row.cells) != len(header):
      raise BadInput(
        f"{where}, line {row.line} has {len(row.cells)} cells, and the first row "
        f"{len(header)}: give every row as many"
      )
  return Table(where, header, rows[1:])
