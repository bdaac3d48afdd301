"""A table of WAVE files and what is said in each: CSV or TSV."""

import hashlib
import os
from pathlib import Path

import numpy as np

from unroll.data.classes import audio
from unroll.data.speech.reader import UNITS
from unroll.data.speech.value import Utterances
from unroll.data.table import read_table, read_tsv
from unroll.types import BadInput

COLUMNS = ("file", "text")


def read(path: Path, units: str, rate: int) -> Utterances:
  """The utterances of a table with the columns `file` and `text`, which has a header.

  Args:
    path: a `.tsv` file with tabs, or another with commas, semicolons or tabs. Files are
      found from the folder of the table on.
    units: what a label is, of `UNITS`.
    rate: samples a second that sounds are brought to.

  Raises:
    BadInput: the table or one of its files cannot be read, or a column is missing.
  """
  try:
    data = path.read_bytes()
  except OSError as error:
    raise BadInput(
      f"{path} cannot be read ({error.strerror}): give a table with the columns "
      f"{' and '.join(COLUMNS)}"
    ) from None
  table = (read_tsv if path.suffix == ".tsv" else read_table)(data, str(path))
  for name in COLUMNS:
    if name not in table.header:
      raise BadInput(
        f"{path} has the columns {', '.join(table.header)} and no `{name}`: name the "
        f"columns {' and '.join(COLUMNS)} in its first line"
      )
  file, text = map(table.header.index, COLUMNS)
  sounds, labels, places = [], [], []
  digest = hashlib.sha256(f"{units} {rate}".encode())
  for row in table.rows:
    place = f"{path}, line {row.line}"
    try:
      where = path.parent / os.path.expanduser(row.cells[file].strip())
      sounds.append(audio.mono(where, rate).astype(np.float32))
    except BadInput as error:
      raise BadInput(f"{place}: {error}") from None
    labels.append(UNITS[units].split(row.cells[text]))
    places.append(place)
    digest.update(sounds[-1].data)
    digest.update(f"{labels[-1]}\0".encode())
  return Utterances(
    sounds.__getitem__,
    np.array([len(sound) for sound in sounds], np.int64),
    tuple(labels),
    tuple(places),
    digest.hexdigest(),
  )
