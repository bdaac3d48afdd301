"""Piano rolls: which of 88 keys sound at each step of a grid."""

import numpy as np
from numpy.typing import NDArray

from unroll.data.music.midi import TICKS, Note, Piece
from unroll.types import BadInput

LOWEST, KEYS = 21, 88  # the pitches of a piano: A0 to C8
HIGHEST = LOWEST + KEYS - 1
LONGEST = 100_000  # steps of a piece
# A step has the keys that sound an eighth of a step after it begins: then a note that
# comes a little late is still there, and one that ends a little late is not.
MOMENT = 8

Roll = NDArray[np.uint8]  # `[T, 88]`, 1 where a key sounds


def roll(piece: Piece, grid: int, name: str) -> tuple[Roll, int]:
  """What sounds at each step, from the first note to the last.

  A step has what is heard at one moment of it and not all that is heard during it, so
  that fast notes never become a chord that nobody played. Whether a key is held or
  struck again cannot be told from a roll.

  Args:
    piece: the notes.
    grid: steps of a beat.
    name: of the piece, for what is said of it.

  Returns:
    The roll, and the number of notes that are in no step, being over before the next.

  Raises:
    BadInput: a note is on none of the 88 keys, no note is left, or the piece is longer
      than 100,000 steps.
  """
  notes = np.array(piece.notes, np.int64).reshape(-1, 3)
  wrong = notes[(notes[:, 2] < LOWEST) | (notes[:, 2] > HIGHEST), 2]
  if wrong.size:
    raise BadInput(
      f"{name} has the note {wrong[0]}: a piano has {LOWEST} to {HIGHEST} (A0 to C8); "
      "transpose it, or leave it out"
    )
  # The steps whose moment is before a tick: in whole numbers, so that none is rounded.
  steps = (MOMENT * notes[:, :2] * grid - piece.per_beat) // (MOMENT * piece.per_beat)
  starts, ends = steps.T + 1
  kept = starts < ends
  if not kept.any():
    raise BadInput(f"{name} has no note that is heard at grid={grid}: take a finer one")
  first, last = int(starts[kept].min()), int(ends[kept].max())
  if last - first > LONGEST:
    raise BadInput(
      f"{name} has {last - first:,} steps at grid={grid}: a piece has {LONGEST:,} at "
      "most; take a coarser grid, or cut it"
    )
  found = np.zeros((last - first, KEYS), np.uint8)
  for start, end, pitch in zip(starts[kept], ends[kept], notes[kept, 2]):
    found[start - first : end - first, pitch - LOWEST] = 1
  return found, int(np.sum(~kept))


def piece(roll: Roll, grid: int) -> Piece:
  """The notes of a roll; a key in successive steps is one note, held.

  Args:
    roll: `[T, 88]`.
    grid: steps of a beat.
  """
  step = max(TICKS // grid, 1)
  edges = np.diff(
    np.pad(np.asarray(roll) != 0, ((1, 1), (0, 0))).astype(np.int8), axis=0
  )
  pitches, starts = np.nonzero(edges.T == 1)
  _, ends = np.nonzero(edges.T == -1)  # by key, then by time, as the starts are
  times = zip((starts * step).tolist(), (ends * step).tolist())
  notes = [Note(*both, pitch + LOWEST) for both, pitch in zip(times, pitches.tolist())]
  return Piece(tuple(sorted(notes)), step * grid, len(roll) * step)
