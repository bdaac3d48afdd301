"""The picture of Zipf's law: how frequent the r-th most frequent n-gram is."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.ngram.zipf import fit
from unroll.report.curves import BLUE, EVALUATIONS, INK, MUTED, dress
from unroll.report.pictures import save

POINTS = 2000  # of a line; more are not seen


def zipf(counts: Mapping[str, NDArray], title: str, path: str | Path) -> None:
  """Draws frequencies by rank, both logarithmic, each with the line that fits it.

  Args:
    counts: frequencies above 0, in any order, by the name of what they count.
    title: of the picture.
    path: of the PNG file, 1000 pixels wide.
  """
  # Figure by hand, not by pyplot: no global state, no window.
  from matplotlib.figure import Figure
  from matplotlib.ticker import LogLocator, NullLocator

  figure = Figure(figsize=(10, 6), facecolor="white")
  figure.set_layout_engine("constrained")
  axes = figure.subplots()
  axes.set_xscale("log")
  axes.set_yscale("log")
  for (name, frequencies), color in zip(counts.items(), (BLUE, *EVALUATIONS)):
    ordered = np.sort(frequencies)[::-1]
    ranks = np.unique(np.geomspace(1, max(ordered.size, 1), POINTS).astype(np.int64))
    ranks = ranks[ranks <= ordered.size]
    label = f"{ordered.size:,d} {name}"
    if ordered.size > 1:
      line = fit(ordered)
      ends = np.array([1.0, ordered.size])
      label += f", exponent {line.exponent:.2f}"
      fitted = line.scale / ends**line.exponent
      axes.plot(ends, fitted, color=color, lw=1, ls=(0, (5, 3)))
    axes.plot(ranks, ordered[ranks - 1], color=color, lw=2, label=label)
  axes.set_ylim(bottom=0.7)
  axes.set_xlabel("rank", color=MUTED)
  dress(axes, title, "frequency")
  axes.xaxis.set_major_locator(LogLocator())
  axes.xaxis.set_minor_locator(NullLocator())
  axes.title.set_parse_math(False)
  axes.legend(fontsize=10, labelcolor=INK, edgecolor="none", loc="upper right")
  save(figure, path)
