"""Scores to learn from: public sets by name, and the user's own files, as rolls."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unroll.data import cache, splits
from unroll.data.music import midi
from unroll.data.music.layouts import PARTS, READERS, Parts
from unroll.data.music.named import SCORES
from unroll.data.music.rolls import Roll, roll
from unroll.errors import guess, sentence
from unroll.types import BadInput

GRID = 4  # steps of a beat of MIDI files, if none is given
SPLIT = "0.8,0.1,0.1"


class Scores(NamedTuple):
  """Pieces as piano rolls.

  Attributes:
    name: of the set, or of the file or folder.
    parts: the pieces of "train", "val" and, where there is one, "test".
    grid: steps of a beat.
  """

  name: str
  parts: Mapping[str, tuple[Roll, ...]]
  grid: int

  def digest(self) -> str:
    """The sha256 of all pieces."""
    found = hashlib.sha256(str(self.grid).encode())
    for part, pieces in self.parts.items():
      for piece in pieces:
        found.update(f"{part} {len(piece)} ".encode() + piece.tobytes())
    return found.hexdigest()


def load(
  name: str,
  *,
  grid: int = 0,
  split: str = "",
  warn: Callable[[str], object] = warnings.warn,
) -> Scores:
  """Scores by their name or path.

  Args:
    name: a name in `SCORES`; a `.json` or `.mat` file in the layout of these; or a
      folder of MIDI files, with folders train, valid and test or to be split.
    grid: steps of a beat; 0: as is known of a named set, 1 of a file, 4 of MIDI files.
    split: of a folder that has no such folders: train,val[,test] as fractions of its
      pieces, drawn at random, always the same; "" for 0.8,0.1,0.1.
    warn: called with a sentence about notes that fall between the steps.

  Raises:
    BadInput: there are no such scores, a file of them is faulty, or `grid` or `split`
      are not for them.
  """
  path = Path(os.path.expanduser(name))
  if name not in SCORES and path.is_dir():
    grid = grid or GRID
    return _checked(Scores(name, _folder(path, grid, split, warn), grid))
  if split:
    raise BadInput(
      f"split={split}: {name} has a split in it; leave `split` empty, or give a folder "
      "of MIDI files"
    )
  if name in SCORES:
    entry = SCORES[name]
    if grid not in (0, entry.grid):
      raise BadInput(
        f"grid={grid}: {name} has {entry.grid} a beat; leave `grid` out, or take other "
        "scores"
      )
    data, file, grid = cache.read(entry.file), Path(entry.file.path), entry.grid
  elif path.suffix in READERS:
    try:
      data, file, grid = path.read_bytes(), path, grid or 1
    except OSError as error:
      raise BadInput(f"scores={name} cannot be read: {sentence(error)}") from None
  else:
    raise BadInput(_no_such_scores(name))
  return _checked(Scores(name, READERS[file.suffix](data, str(file)), grid))


def _checked(scores: Scores) -> Scores:
  for part in ("train", "val"):
    if not scores.parts.get(part):
      raise BadInput(f"scores={scores.name} has no {part} part: give one of it")
  for part, pieces in scores.parts.items():
    for number, piece in enumerate(pieces):
      if len(piece) < 2:
        raise BadInput(
          f"scores={scores.name}: piece {number} of {part} has {len(piece)} steps, and "
          "there must be 2 for one to follow from another: leave it out"
        )
  return scores


def _folder(path: Path, grid: int, split: str, warn: Callable[[str], object]) -> Parts:
  parts, lost = {}, dict[Path, int]()
  for part, files in _files(path, split).items():
    pieces = []
    for file in files:
      piece, lost[file] = roll(midi.read(file), grid, str(file))
      pieces.append(piece)
    parts[part] = tuple(pieces)
  if total := sum(lost.values()):
    worst = max(lost, key=lost.__getitem__)
    warn(
      f"{total} notes of {path} are over before the next step of grid={grid}, "
      f"{lost[worst]} of them in {worst}: a finer grid has them"
    )
  return parts


def _files(path: Path, split: str) -> dict[str, list[Path]]:
  """The MIDI files of each part of a folder."""
  folders = {
    part: folder
    for part, names in PARTS.items()
    for folder in (path / name for name in names)
    if folder.is_dir()
  }
  if "train" in folders:
    if split:
      raise BadInput(f"split={split}: {path} has folders of its parts; leave it empty")
    return {part: _midi_files(folder) for part, folder in folders.items()}
  paths, spec = _midi_files(path), split or SPLIT
  if not 2 <= spec.count(",") + 1 <= len(PARTS):
    raise BadInput(f"split={spec}: give train,val[,test], such as {SPLIT}")
  edges = splits.by_fractions(spec.split(","), len(paths), spec)
  order = np.random.default_rng(0).permutation(len(paths))
  each = {
    part: [paths[i] for i in sorted(order[slice(*edge)])]
    for part, edge in zip(PARTS, edges)
  }
  if not all(each.values()):
    raise BadInput(
      f"split={spec}: {path} has {len(paths)} MIDI files, so that a part would be "
      "empty; give more files or another `split`"
    )
  return each


def _midi_files(folder: Path) -> list[Path]:
  found = [
    path
    for path in sorted(folder.rglob("*"))
    if path.suffix.lower() in (".mid", ".midi") and path.is_file()
  ]
  if not found:
    raise BadInput(f"{folder} has no MIDI files: give a folder with .mid files in it")
  return found


def _no_such_scores(name: str) -> str:
  return (
    f"scores={name} is neither a folder of MIDI files, a .json or .mat file nor one of "
    f"{', '.join(SCORES)}{guess(name, SCORES)}"
  )
