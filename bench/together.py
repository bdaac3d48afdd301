"""Runs one after another, and as arms of one program: who is raced, and the table."""

import math
from collections.abc import Sequence

from bench.race import Contestant, Row
from bench.suites import Suite
from bench.table import NONE, markdown, number

SUITES = ("arms", "runs")
ARMS = 16
ALONE = "alone"  # how the names of those begin that the others are compared with


def contestants(suite: str, devices: int, cores: int) -> list[Contestant]:
  """Of `arms`, the step in every way; of `runs`, whole commands.

  Args:
    suite: `arms` or `runs`.
    devices: that a batch of one run is spread over.
    cores: that arms are spread over.
  """
  if suite == "runs":
    return [
      Contestant(ALONE, "runs", {"count": 1}),
      Contestant(f"{ARMS} arms", "runs", {"count": ARMS}),
    ]
  alone = [
    Contestant(f"{ALONE}, {n} device{'s' * (n > 1)}", "unroll", {"count": 1}, devices=n)
    for n in sorted({1, devices})
  ]
  return alone + [
    Contestant(
      f"{ARMS} {how}", "unroll", {"count": ARMS, "looped": how == "looped"}, cores
    )
    for how in ("looped", "vmapped")
  ]


def table(suite: Suite, rows: Sequence[Row]) -> str:
  """A line for each way; its rate beside the best of those alone."""
  head = ["B, T, D, H", "cell", "run", f"{suite.unit} each", "rate, of the best alone"]
  body = []
  for row in rows:
    for name, result in row.results.items():
      cells = [row.shape.size, row.shape.core, name, NONE, NONE]
      if "minimum" in result:
        best, middle = (
          number(suite.figure(row.shape, result[each]))
          for each in ("minimum", "median")
        )
        rate = _best_alone(row) / result["minimum"]
        cells[3:] = [f"{best} ({middle})", f"{rate:.2f}"]
      body.append(cells)
  return markdown(head, body)


def _best_alone(row: Row) -> float:
  alone = [each for name, each in row.results.items() if name.startswith(ALONE)]
  return min((each["minimum"] for each in alone if "minimum" in each), default=math.nan)
