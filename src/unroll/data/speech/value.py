"""Utterances: sounds, and the labels that are said one after the other."""

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Utterances(NamedTuple):
  """Sounds with labels, of which none needs to be there before it is asked for.

  Attributes:
    sound: the number of an utterance -> its samples, `[samples]`.
    samples: how many each has, `[N]`.
    labels: what is said, of each.
    places: where each stands, to name in an error: "calls.csv, line 3".
    digest: sha256 of all of it.
  """

  sound: Callable[[int], NDArray[np.floating]]
  samples: NDArray[np.int64]
  labels: tuple[tuple[str, ...], ...]
  places: tuple[str, ...]
  digest: str

  def some(self, rows: Iterable[int]) -> "Utterances":
    """Those of some rows."""
    rows = list(rows)
    digest = hashlib.sha256(f"{self.digest} {rows}".encode()).hexdigest()
    return Utterances(
      lambda number: self.sound(rows[number]),
      self.samples[rows],
      tuple(self.labels[row] for row in rows),
      tuple(self.places[row] for row in rows),
      digest,
    )
