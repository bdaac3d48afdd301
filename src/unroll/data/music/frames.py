"""Batches of piano rolls: whole pieces of like length side by side."""

import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import ALL
from unroll.data.buckets import Buckets
from unroll.data.examples import padded
from unroll.data.music.rolls import Roll


class Frames(NamedTuple):
  """Pieces side by side, padded to T steps.

  Padding comes last, so that nothing which counts follows from it.

  Attributes:
    keys: uint8 `[T, B, 88]`, 1 where a key sounds; 0 at padding.
    weight: float32 `[T, B]`, 0 at padding and where a step must not count.
  """

  keys: NDArray[np.uint8]
  weight: NDArray[np.float32]


def frames(
  rolls: Sequence[Roll],
  batch: int,
  *,
  first: bool,
  seed: int = 0,
  shuffle: bool = True,
  columns: slice = ALL,
  buckets: int = 4,
) -> Buckets[Frames]:
  """Batches of whole pieces.

  Args:
    rolls: the pieces.
    batch: pieces in a batch of mean length, see `Buckets`.
    first: whether the first step of a piece counts, which follows from nothing. In the
      literature it does not.
    seed: of the order.
    shuffle: random order, or by length.
    columns: see `Buckets`.
    buckets: of like length, for each of which a program is compiled.
  """
  digest = hashlib.sha256(b"".join(map(np.ndarray.tobytes, rolls))).hexdigest()[:16]
  return Buckets(
    [len(roll) for roll in rolls],
    functools.partial(together, rolls, first=first),
    batch,
    buckets=buckets,
    seed=seed,
    shuffle=shuffle,
    columns=columns,
    digest=f"{digest}, first={first}",
  )


def together(
  rolls: Sequence[Roll], rows: NDArray[np.integer], steps: int, *, first: bool
) -> Frames:
  """Some pieces side by side.

  Args:
    rolls: all pieces.
    rows: which of them, `[B]`; -1 is padding.
    steps: T, at least the length of each.
    first: whether the first step of a piece counts.
  """
  keys, valid = padded(rolls, rows, steps)
  weight = valid.astype(np.float32)
  weight[: 0 if first else 1] = 0
  return Frames(keys, weight)
