"""Centres and scales the columns of a series, by its training part alone."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.series.value import Series
from unroll.types import BadInput


class Scaler(NamedTuple):
  """Centres and scales each column, by what the training part alone says.

  Attributes:
    mean: float64 `[C]`.
    scale: float64 `[C]`, the standard deviation; 1 for a constant column.
  """

  mean: NDArray[np.float64]
  scale: NDArray[np.float64]

  @classmethod
  def fit(
    cls, series: Series, rows: range, warn: Callable[[str], object] = lambda text: None
  ) -> "Scaler":
    """Mean and deviation of the values there are in some rows.

    Args:
      series: the series.
      rows: those of the training part.
      warn: called with a sentence about each constant column.

    Raises:
      BadInput: a column has no value in these rows, or one that is too large.
    """
    values = series.values[rows.start : rows.stop]
    for column in np.flatnonzero(~np.isfinite(values).any(axis=0)):
      raise BadInput(
        f"{series.name}: column {series.columns[column]} has no value in the training "
        "part, so that nothing can be learned of it: leave it out, or split later"
      )
    with np.errstate(over="ignore", invalid="ignore"):
      mean, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    for column in np.flatnonzero(~np.isfinite(scale)):
      row = int(np.nanargmax(np.abs(values[:, column])))
      raise BadInput(
        f"{series.name}: column {series.columns[column]} has {values[row, column]:g} "
        f"at {series.stamp(rows.start + row)}, of which there is no deviation: correct "
        "it, or leave it empty"
      )
    # The mean of equal numbers may be off by a rounding, and so may their deviation.
    constant = np.nanmin(values, axis=0) == np.nanmax(values, axis=0)
    for column in np.flatnonzero(constant):
      warn(
        f"{series.name}: column {series.columns[column]} is constant in the training "
        f"part, {values[0, column]:g}: it is centred and not scaled"
      )
    return cls(
      np.where(constant, np.nanmin(values, axis=0), mean), np.where(constant, 1, scale)
    )

  def apply(self, series: Series) -> Series:
    """The series with every column centred and scaled; holes stay holes."""
    return series._replace(values=(series.values - self.mean) / self.scale)

  def invert(self, values: NDArray) -> NDArray[np.float64]:
    """Scaled values `[..., C]` of the first C columns in their own units."""
    columns = values.shape[-1]
    return values * self.scale[:columns] + self.mean[:columns]

  def to_json(self) -> dict[str, list[float]]:
    """The scaler as a JSON object, exactly."""
    return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

  @classmethod
  def from_json(cls, fields: object, where: str = "scaler.json") -> "Scaler":
    """The scaler of `to_json`; `where` is the file to name if it is none.

    Raises:
      BadInput: this is not what `to_json` writes.
    """
    match fields:
      case {"mean": list(mean), "scale": list(scale)} if len(mean) == len(scale):
        if all(type(x) in (int, float) for x in mean + scale) and all(
          0 < x < np.inf for x in scale
        ):
          return cls(np.array(mean, float), np.array(scale, float))
    raise BadInput(
      f"{where} is not a scaler: it must be an object of mean and scale, two lists of "
      "as many numbers, those of scale positive"
    )
