"""Pictures of a folder, and a table that says what is in them."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data.captions.value import Captioned
from unroll.data.splits import NAMES, by_fractions
from unroll.data.table import Row, Table, read_table, read_tsv
from unroll.types import BadInput

SPLIT = "0.8,0.1,0.1"
FORMATS = ("PNG", "JPEG")


def load(
  folder: Path, table: Path, image: str, caption: str, size: int, split: str = ""
) -> dict[str, Captioned]:
  """The captioned pictures of "train", "val" and, where there is one, "test".

  Args:
    folder: the pictures, PNG or JPEG.
    table: a row for each sentence: a CSV file, or a TSV file by its name; both with a
      header. A picture may have several rows.
    image: the column that names a file of the folder.
    caption: the column of sentences.
    size: pixels of a side; pictures are stretched to it.
    split: fractions of train,val[,test], of pictures at random, always in the same way;
      "": 0.8,0.1,0.1.

  Raises:
    BadInput: a file cannot be read, or is faulty; or a part is empty.
  """
  found: dict[str, list[str]] = {}
  images = []
  for name, text, where in _rows(table, image, caption):
    if name not in found:
      images.append(read(folder / name, size, where))
    found.setdefault(name, []).append(text)
  whole = Captioned(np.stack(images), [tuple(texts) for texts in found.values()])
  return parted(whole, split or SPLIT, str(table))


def parted(whole: Captioned, split: str, where: str) -> dict[str, Captioned]:
  """Training, validation and perhaps test pictures, at random and always the same.

  Args:
    whole: all there are.
    split: fractions.
    where: what to call the set in `BadInput`.
  """
  parts, size = split.split(","), len(whole.images)
  if not 2 <= len(parts) <= len(NAMES):
    raise BadInput(f"split={split} has {len(parts)} parts; it takes train,val[,test]")
  order = np.random.default_rng(0).permutation(size)
  found = {}
  for name, (start, stop) in zip(NAMES, by_fractions(parts, size, split)):
    if start == stop:
      raise BadInput(
        f"split={split} of the {size} pictures of {where} leaves none for {name}: give "
        "more"
      )
    found[name] = whole.some(np.sort(order[start:stop]))
  return found


def read(path: Path, size: int, where: str = "") -> NDArray[np.uint8]:
  """A picture, stretched to `[size, size, 3]`; what is transparent becomes white.

  Args:
    path: a PNG or JPEG file; of turned photographs the top is up.
    size: pixels of a side.
    where: what names it, as "captions.csv, line 3".

  Raises:
    BadInput: it cannot be read.
  """
  from PIL import Image, ImageOps

  named = f"{where} names {path}, which" if where else f"{path}"
  try:
    with warnings.catch_warnings():
      # Pillow warns of a picture of more pixels than it trusts, and then reads it.
      warnings.simplefilter("error", Image.DecompressionBombWarning)
      with Image.open(path, formats=FORMATS) as opened:
        whole = ImageOps.exif_transpose(opened)
        if whole.mode.startswith("I;16"):  # Pillow cuts 16 bits off at 255
          whole = Image.fromarray((np.asarray(whole) >> 8).astype(np.uint8))
        over = Image.new("RGBA", whole.size, "white")
        over.alpha_composite(whole.convert("RGBA"))
        small = over.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(small)
  except FileNotFoundError:
    raise BadInput(f"{named} is not there: give the folder of the pictures") from None
  except Image.UnidentifiedImageError:
    raise BadInput(f"{named} is no picture: give PNG or JPEG files") from None
  # A damaged file may end in any of these.
  except (
    *(OSError, SyntaxError, ValueError, EOFError, MemoryError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
  ) as error:
    raise BadInput(
      f"{named} cannot be read ({error}): give PNG or JPEG files"
    ) from None


def _rows(path: Path, image: str, caption: str) -> list[tuple[str, str, str]]:
  """Of each row the name of its picture, its sentence, and where it stands."""
  try:
    data = path.read_bytes()
  except OSError as error:
    raise BadInput(
      f"captions={path} cannot be read ({error.strerror}): give a CSV or TSV file"
    ) from None
  tabbed = path.suffix.lower() == ".tsv"
  table = (read_tsv if tabbed else read_table)(data, str(path))
  columns = {
    setting: _column(table, setting, name)
    for setting, name in (("image_column", image), ("caption_column", caption))
  }
  found = []
  for row in table.rows:
    name, text = (_cell(table, row, columns, setting) for setting in columns)
    found.append((name, text, f"{table.where}, line {row.line}"))
  return found


def _column(table: Table, setting: str, name: str) -> int:
  if name not in table.header:
    raise BadInput(
      f"{setting}={name}: {table.where} has the columns {', '.join(table.header)}: "
      "name one of them"
    )
  return table.header.index(name)


def _cell(table: Table, row: Row, columns: Mapping[str, int], setting: str) -> str:
  text = row.cells[columns[setting]].strip()
  if not text:
    name = table.header[columns[setting]]
    raise BadInput(
      f"{table.where}, line {row.line} has no {name}: fill it in, or leave the line out"
    )
  return text
