"""Texts with a label from CSV, TSV and JSON Lines files."""

import json
from pathlib import Path

from unroll.data import text as text_lib
from unroll.data.classes.value import Labelled
from unroll.data.table import Table, read_table, read_tsv
from unroll.types import BadInput

KINDS = (".csv", ".tsv", ".txt", ".jsonl")


def read(path: Path, text: str, label: str) -> Labelled:
  """The texts of a file, and their labels: see `parse`.

  Raises:
    BadInput: the file cannot be read, or is faulty.
  """
  return _labelled(path, text, label)


def texts(path: Path, text: str) -> list[str]:
  """The texts of such a file, whose labels, if there are any, are not read.

  Raises:
    BadInput: the file cannot be read, or is faulty.
  """
  return list(map(str, _labelled(path, text, None).inputs))


def _labelled(path: Path, text: str, label: str | None) -> Labelled:
  try:
    data = path.read_bytes()
  except OSError as error:
    raise BadInput(f"{path} cannot be read ({error.strerror})") from None
  return parse(data, str(path), text, label)


def parse(data: bytes, where: str, text: str, label: str | None) -> Labelled:
  """Texts and labels from the bytes of a file.

  - `.csv`: a header, commas, semicolons or tabs; quotes as in RFC 4180.
  - `.tsv`, `.txt`: a tab between cells; quotes are text.
  - `.jsonl`: an object a line; labels are strings, whole numbers or booleans.

  Args:
    data: the file.
    where: its name.
    text: the column of the texts: its name; or its number from 1 on, as in "2", for a
      TSV file without header.
    label: the column of the labels, in the same way; None: none is read, and all are
      empty.

  Raises:
    BadInput: a column is not there, a row is ragged, a label is empty.
  """
  if where.endswith(".jsonl"):
    return _from_json(data, where, text, label)
  if where.endswith(".csv"):
    table = read_table(data, where)
  else:
    table = read_tsv(data, where, header=not f"{text}{label or ''}".isdigit())
  return _from_table(table, text, label)


def _from_table(table: Table, text: str, label: str | None) -> Labelled:
  columns = []
  for setting, name in (("text", text), ("label", label)):
    if name is None:
      continue
    if name not in table.header:
      raise BadInput(
        f"{setting}={name}: {table.where} has the columns {', '.join(table.header)}"
      )
    columns.append(table.header.index(name))
  texts = [row.cells[columns[0]] for row in table.rows]
  places = [f"{table.where}, line {row.line}" for row in table.rows]
  labels = [row.cells[columns[-1]].strip() if label else "" for row in table.rows]
  return _checked(texts, labels, places, label is not None)


def _from_json(data: bytes, where: str, text: str, label: str | None) -> Labelled:
  texts, labels, places = [], [], []
  for number, line in enumerate(text_lib.read_lines(data, where), 1):
    if not line.strip():
      continue
    place = f"{where}, line {number}"
    try:
      row = json.loads(line)
    except (ValueError, RecursionError) as error:
      raise BadInput(f"{place} is not JSON ({error})") from None
    wanted = [text] if label is None else [text, label]
    if not isinstance(row, dict) or not {*wanted} <= row.keys():
      raise BadInput(f"{place} is no object with {' and '.join(map(repr, wanted))}")
    if not isinstance(row[text], str):
      raise BadInput(f"{place}: {text!r} is no string")
    found = "" if label is None else row[label]
    if not isinstance(found, str | int):
      raise BadInput(f"{place}: {label!r} is no string, whole number or boolean")
    texts.append(row[text])
    labels.append(found if isinstance(found, str) else json.dumps(found))
    places.append(place)
  if not texts:
    raise BadInput(f"{where} has no row: give an object a line")
  return _checked(texts, labels, places, label is not None)


def _checked(
  texts: list[str], labels: list[str], places: list[str], labelled: bool
) -> Labelled:
  for label, place in zip(labels, places):
    if labelled and not label:
      raise BadInput(f"{place} has no label")
  return Labelled(texts, labels, places)
