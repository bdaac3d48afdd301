"""A series: numbers at regular times."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.series.stamps import Clock


class Series(NamedTuple):
  """Values `[N, C]`, one row a tick of the clock.

  Attributes:
    name: of the file, or in the registry.
    clock: what the stamp of each row is, and of rows to come.
    columns: the names of the C columns: targets, then inputs.
    targets: how many of the columns are forecast; the rest only help.
    values: float64 `[N, C]`, NaN where one is missing.
    gaps: how missing values are filled: "forward" or "linear"; "refuse" where there
      are none.
  """

  name: str
  clock: Clock
  columns: tuple[str, ...]
  targets: int
  values: NDArray[np.float64]
  gaps: str = "refuse"

  def digest(self) -> str:
    """The sha256 of all that a model learns from: values, stamps, names."""
    said = repr((self.clock, self.columns, self.targets, self.gaps, self.values.shape))
    return hashlib.sha256(said.encode() + self.values.tobytes()).hexdigest()

  def stamp(self, row: int) -> str:
    """The stamp of a row; from N on, of times to come."""
    return self.clock.write(row)
