"""Files with a word a line and blank lines between sentences: CoNLL-U, and columns.

CoNLL-U (universaldependencies.org/format) has ten columns with tabs between them, and
lines that are no words: comments, ranges of multiword tokens (`3-4`), empty nodes
(`8.1`). Its words are the numbered ones. Any other file has columns with tabs, or else
with any white space between them.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from unroll.data.text import read_lines
from unroll.types import BadInput

FIELDS = (
  *("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC"),
)
CONLLU, COLUMNS = "conllu", "columns"
_NUMBER = re.compile(r"\d+")
_NO_WORD = re.compile(r"\d+-\d+|\d+\.\d+")
_DOCUMENT = "-DOCSTART-"  # a line of CoNLL-2003 before each document


class Sentence(NamedTuple):
  """Words with a label each, and the lines of the file where they stand, from 1."""

  words: tuple[str, ...]
  labels: tuple[str, ...]
  lines: tuple[int, ...]


class _Line(NamedTuple):
  number: int
  text: str
  cells: list[str]


def format_of(data: bytes, where: str) -> str:
  """`CONLLU` or `COLUMNS`: ten columns that begin with a number are CoNLL-U."""
  for text in read_lines(data, where):
    if text.strip() and not text.startswith("# "):
      cells = text.split("\t") if "\t" in text else text.split()
      first = _NUMBER.fullmatch(cells[0]) or _NO_WORD.fullmatch(cells[0])
      return CONLLU if len(cells) == len(FIELDS) and first else COLUMNS
  return COLUMNS


def read(
  data: bytes, where: str, *, format: str = "", word: int = 0, label: str = ""
) -> list[Sentence]:
  """The sentences of a file, in order.

  A byte-order mark, carriage returns, and blank lines that hold spaces or a tab do no
  harm; lines that begin with -DOCSTART- are passed over.

  Args:
    data: the file, in UTF-8.
    where: its name, for the sentences of `BadInput`.
    format: `CONLLU` or `COLUMNS`; "" finds out.
    word: the column of the words, from 1; 0: FORM of CoNLL-U, else the first.
    label: the column of the labels: a number from 1, or a name of CoNLL-U such as
      xpos; "": UPOS of CoNLL-U, else the last.

  Raises:
    BadInput: the file is not of that format, with the line, or holds no word.
  """
  format = format or format_of(data, where)
  lines = _lines(data, where, format)
  filled = [line for line in lines if line.cells]
  words = (line for line in filled if not line.text.startswith("#"))
  width = len(next(words, filled[0] if filled else _Line(0, "", [])).cells)
  if format == CONLLU and filled:
    width = len(FIELDS)
  if width < 2:
    raise BadInput(f"{where} holds no line of a word and its label: give another file")
  if format == CONLLU:
    columns = _column(word or 2, width), _column(label or "upos", width)
    blocks = (_numbered(block, where) for block in _blocks(lines))
  else:
    columns = _column(word or 1, width), _column(label or width, width)
    blocks = (_even(block, width, where) for block in _blocks(lines))
  return [_sentence(block, *columns, where, format) for block in blocks if block]


def written(words: Sequence[str], labels: Sequence[str], format: str) -> str:
  """A sentence as text that `read` reads again, the blank line after it included.

  Args:
    words: none is empty.
    labels: as many.
    format: `COLUMNS` for words and labels with a tab between them; `CONLLU` has the
      labels as UPOS, and `_` where nothing is known.
  """
  if format == CONLLU:
    pairs, rest = enumerate(zip(words, labels), 1), "\t".join("_" * 6)
    rows = [f"{i}\t{word}\t_\t{label}\t{rest}" for i, (word, label) in pairs]
  else:
    rows = [f"{word}\t{label}" for word, label in zip(words, labels)]
  return "".join(f"{row}\n" for row in [*rows, ""]) if rows else ""


def _lines(data: bytes, where: str, format: str) -> list[_Line]:
  """The lines taken apart; a blank line has no cells, a comment of CoNLL-U is none."""
  texts = read_lines(data, where)
  filled = [text for text in texts if text.strip(" \t")]
  # A word may begin with #, so that a comment cannot be told by itself.
  first = next((text for text in filled if not text.startswith("#")), "\t")
  tabs = format == CONLLU or "\t" in (first if filled else "")
  found = []
  for number, text in enumerate(texts, 1):
    if not text.strip(" \t"):
      found.append(_Line(number, text, []))
    elif format != CONLLU or not text.startswith("#"):
      parts = text.split("\t") if tabs else re.split("[ \t]+", text.strip(" \t"))
      found.append(_Line(number, text, parts))
  return found


def _blocks(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
  """The lines between blank ones."""
  block: list[_Line] = []
  for line in [*lines, _Line(0, "", [])]:
    if line.cells:
      block.append(line)
    elif block:
      yield block
      block = []


def _numbered(block: Sequence[_Line], where: str) -> list[_Line]:
  """The words of a sentence of CoNLL-U."""
  words: list[_Line] = []
  for line in block:
    _check_width(line, len(FIELDS), where)
    number = line.cells[0]
    if _NO_WORD.fullmatch(number):
      continue
    if number != str(len(words) + 1):
      raise BadInput(
        f"{where}, line {line.number} has the ID {number} where word {len(words) + 1} "
        "of the sentence is due: number the words from 1, and leave a blank line "
        "between sentences"
      )
    words.append(line)
  return words


def _even(block: Sequence[_Line], width: int, where: str) -> list[_Line]:
  """The words of a sentence of columns; comments are lines of another width."""
  words = []
  for line in block:
    comment = line.text.startswith("#") and len(line.cells) != width
    if comment or line.cells[0] == _DOCUMENT:
      continue
    _check_width(line, width, where)
    words.append(line)
  return words


def _check_width(line: _Line, width: int, where: str) -> None:
  if len(line.cells) == width:
    return
  hint = f"give every word {width} columns"
  if len(line.cells) == 1 and len(line.text.split()) > 1:
    hint = "put tabs where it has spaces"
  s = "s" if len(line.cells) > 1 else ""
  raise BadInput(
    f"{where}, line {line.number} has {len(line.cells)} column{s}, not {width}: {hint}"
  )


def _column(named: int | str, width: int) -> int:
  """The place of a column."""
  name = str(named)
  number = int(name) if name.isdecimal() else 0
  if width == len(FIELDS) and name.upper() in FIELDS:
    number = FIELDS.index(name.upper()) + 1
  if not 1 <= number <= width:
    raise BadInput(f"column {name}: the file has columns 1 to {width}, choose one")
  return number - 1


def _sentence(
  block: Sequence[_Line], word: int, label: int, where: str, format: str
) -> Sentence:
  for line in block:
    for column, what in ((word, "word"), (label, "label")):
      missing = format == CONLLU and what == "label" and FIELDS[column] != "FEATS"
      if not line.cells[column].strip(" ") or (missing and line.cells[column] == "_"):
        raise BadInput(
          f"{where}, line {line.number} has no {what} in column {column + 1}: give one"
        )
  return Sentence(
    tuple(line.cells[word].strip(" ") for line in block),
    tuple(line.cells[label].strip() for line in block),
    tuple(line.number for line in block),
  )
