"""A run as a few lines of text, for a terminal; no JAX."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unroll.records import PER_SECOND, SPLITS, Record, number

BARS = "▁▂▃▄▅▆▇█"
KEPT = 4096  # points of a series; of more, two at a time become their mean


class Series:
  """Values by step, of which old ones are thinned as new ones come."""

  def __init__(self) -> None:
    self.values: list[float] = []
    self.last = math.nan
    self._each, self._sum, self._count = 1, 0.0, 0

  def add(self, value: float) -> None:
    """Takes the next value; one that is not finite leaves a hole."""
    self.last = value
    self._sum, self._count = self._sum + value, self._count + 1
    if self._count < self._each:
      return
    self.values.append(self._sum / self._count)
    self._sum, self._count = 0.0, 0
    if len(self.values) >= KEPT:
      pairs = zip(self.values[::2], self.values[1::2])
      self.values = [(one + other) / 2 for one, other in pairs]
      self._each *= 2


class Watched:
  """What is known of a run by its records so far.

  Args:
    flags: its settings, which say when it ends.
  """

  def __init__(self, flags: Mapping[str, Any]):
    self._flags, self._series = flags, dict[str, Series]()
    self.step, self.seconds = 0, 0.0

  def add(self, records: Iterable[Record]) -> None:
    """Takes what was written since."""
    for record in records:
      self.step = max(self.step, record["step"])
      for name, value in record.items():
        if name == "seconds":
          self.seconds = number(value) or self.seconds
        elif name != "step":
          series = self._series.setdefault(name, Series())
          series.add(math.nan if (found := number(value)) is None else found)

  def lines(self, width: int) -> list[str]:
    """How it stands, in lines of at most `width` characters."""
    rates = [name for name in self._series if name.endswith(PER_SECOND)]
    rate = f", {self._series[rates[0]].last:,.0f} {_speed(rates[0])}" if rates else ""
    found = [f"step {self.step:,}{self._progress()}{rate}"]
    splits = tuple(f"{split}/" for split in ("train", *SPLITS))
    shown = [name for name in self._series if name.startswith(splits)]
    shown += [n for n in ("grad_norm", "learning_rate") if n in self._series]
    label = max(map(len, shown), default=0)
    columns = max(width - label - 40, 8)
    for name in shown:
      series = self._series[name]
      finite = [value for value in series.values if math.isfinite(value)]
      bounds = f"  {min(finite):.4g} to {max(finite):.4g}" if finite else ""
      line = f"{name:{label}} {series.last:9.4g} {sparkline(series.values, columns)}"
      found.append(f"{line}{bounds}"[:width])
    return found

  def _progress(self) -> str:
    """The share that is done, and the time that is left, as far as that is known."""
    steps, minutes = self._flags.get("steps"), self._flags.get("minutes")
    shares = []
    if steps:
      shares.append(self.step / steps)
    if minutes:
      shares.append(self.seconds / (60 * minutes))
    said = f" of {steps:,}" if steps else ""
    if self.seconds:
      said += f", {_time(self.seconds)}"
    if shares and 0 < (done := max(shares)) < 1 and self.seconds:
      said += f", {_time(self.seconds * (1 - done) / done)} left"
    return said


def sparkline(values: Sequence[float], columns: int) -> str:
  """Values as bars between their least and their largest, a space for a hole."""
  count = min(columns, len(values))
  edges = [len(values) * i // count for i in range(count + 1)] if count else [0]
  means = [_mean(values[a:b]) for a, b in itertools.pairwise(edges)]
  finite = [mean for mean in means if math.isfinite(mean)]
  if not finite:
    return " " * count
  low, high = min(finite), max(finite)
  scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
  return "".join(
    BARS[round((mean - low) * scale)] if math.isfinite(mean) else " " for mean in means
  )


def _mean(values: Sequence[float]) -> float:
  finite = [value for value in values if math.isfinite(value)]
  return sum(finite) / len(finite) if finite else math.nan


def _speed(name: str) -> str:
  return f"{name.removesuffix(PER_SECOND)}/s"


def _time(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours} h {minutes:02} min"
  return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
