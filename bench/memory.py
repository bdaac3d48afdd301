"""Memory and time against T, plan by plan: a table and a plot."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.race import Row
from bench.table import NONE, markdown, number
from bench.timing import summary
from unroll.memory import size

PLANS = ("none", "sqrt", "recursive")


def table(rows: Sequence[Row]) -> str:
  """A line for each T and plan; times beside that of keeping everything."""
  head = ["T", "plan", "seconds", "of none", "XLA's peak", "the process's peak"]
  body = []
  for row in rows:
    kept = row.results["none"].get("minimum")
    for plan, result in row.results.items():
      cells = [f"{row.shape.steps:,}", plan, NONE, NONE, NONE, NONE]
      if "minimum" in result:
        least, median = summary(result["seconds"])
        cells[2] = f"{number(least)} ({number(median)})"
        cells[3] = f"{least / kept:.2f}" if kept else NONE
        cells[4] = size(result["needed_bytes"])
        cells[5] = size(result["resident_bytes"])
      body.append(cells)
  return markdown(head, body)


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
  """The exponent k of y ~ x^k between the last two points."""
  (x0, x1), (y0, y1) = xs[-2:], ys[-2:]
  return math.log(y1 / y0) / math.log(x1 / x0)


def plot(rows: Sequence[Row], path: str | Path) -> None:
  """Draws XLA's peak and the time of a step, each against T on logarithmic axes."""
  from matplotlib.figure import Figure  # slow to import

  figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
  panels: list[Any] = list(figure.subplots(1, 2))
  for axes, name, scale in zip(panels, ("needed_bytes", "minimum"), (2**-20, 1)):
    for plan in PLANS:
      points = [
        (row.shape.steps, scale * row.results[plan][name])
        for row in rows
        if name in row.results[plan]
      ]
      if points:
        steps, values = zip(*points)
        label = plan
        if len(points) > 1:
          label += f", $T^{{{slope(steps, values):.2f}}}$ at the end"
        axes.loglog(steps, values, marker="o", label=label)
    axes.set_xlabel("T, steps of backpropagation through time")
    axes.grid(color="#e4e7ea")
    axes.legend(frameon=False)
  panels[0].set_ylabel("memory, MiB")
  panels[1].set_ylabel("seconds a training step")
  shape = rows[0].shape
  figure.suptitle(f"{shape.core}, B = {shape.batch}, H = {shape.hidden}")
  figure.savefig(path)
