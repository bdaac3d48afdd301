"""A series that is still being written: a CSV file that grows, or standard input."""

import numpy as np

from unroll.data.live import Incoming, Live
from unroll.data.series.gaps import filled
from unroll.data.series.horizons import Horizon, cut
from unroll.data.series.regular import numbers
from unroll.data.series.scaler import Scaler
from unroll.data.series.value import Series
from unroll.data.table import read_table
from unroll.types import BadInput


class LiveSeries(Live[Horizon]):
  """One window of T rows and the K rows after it at a time, in the order of rows.

  The windows are K rows apart: every row after the first T is a target exactly once,
  and none is forecast by parameters that have learned from it. Rows are taken in the
  order that they come in, one a tick; a missing value repeats the one before.

  Args:
    incoming: a CSV file, its header first.
    like: a series of the same columns, from which its names are.
    scaler: of the columns.
    window: T.
    horizon: K.
    forced: see `Horizons`.
  """

  def __init__(
    self,
    incoming: Incoming,
    like: Series,
    scaler: Scaler,
    window: int,
    horizon: int,
    forced: bool = False,
  ):
    super().__init__(incoming)
    self._like, self._scaler, self._forced = like, scaler, forced
    self.window, self.horizon = window, horizon
    self._header, self._line, self._rest = b"", 1, b""  # a line that is not whole yet
    self._values = np.zeros((0, len(like.columns)))
    self._at = 0  # the row of the first of the values

  def __repr__(self) -> str:
    return f"LiveSeries(window={self.window}, horizon={self.horizon}, {id(self)})"

  def example(self) -> Horizon:
    zeros = np.zeros((self.window + self.horizon, len(self._like.columns)))
    return self._cut(zeros)

  def begin(self, step: int) -> None:
    self._at = step * self.horizon if self._incoming.standard else 0

  def count(self, step: int) -> int:
    rows = self._at + len(self._values) - self.window
    return max(rows - step * self.horizon, 0) // self.horizon

  def take(self, data: bytes, step: int, last: bool) -> None:
    lines = (self._rest + data).splitlines(keepends=True)
    self._rest = b""
    if lines and not last and not lines[-1].endswith(b"\n"):
      self._rest = lines.pop()
    if lines and not self._header:
      self._header, *lines = lines
    if any(line.strip() for line in lines):
      self._add(b"".join(lines))
    self._line += len(lines)
    past = min(max(step * self.horizon - self._at, 0), max(len(self._values) - 1, 0))
    self._values, self._at = self._values[past:], self._at + past

  def __getitem__(self, step: int) -> Horizon:
    start = step * self.horizon - self._at
    return self._cut(self._values[start : start + self.window + self.horizon])

  def _add(self, lines: bytes) -> None:
    """Adds the rows of some lines; a hole is filled with the value before it."""
    name = self._incoming.name
    table = read_table(self._header + lines, name)
    rows = [row._replace(line=row.line + self._line - 1) for row in table.rows]
    table = table._replace(rows=rows)
    for column in self._like.columns:
      if column not in table.header:
        raise BadInput(
          f"{name} has no column {column!r}: it has {', '.join(table.header)}"
        )
    new = np.stack([numbers(table, column) for column in self._like.columns], axis=1)
    new = (new - self._scaler.mean) / self._scaler.scale
    values = np.concatenate([self._values, new])
    if not np.isfinite(values[:1]).all():
      raise BadInput(
        f"{name}, line {rows[0].line}: a value is missing, and none is before it: "
        "begin where every column has values"
      )
    self._values = filled(values, "forward").values

  def _cut(self, values: np.ndarray) -> Horizon:
    known = np.zeros((len(values), 0), np.float32)
    series = self._like._replace(values=values)
    origin = np.array([self.window])
    whole = filled(values, "forward")
    found = cut(series, whole, known, origin, self.window, self.horizon)
    return found._replace(forced=found.weight) if self._forced else found
