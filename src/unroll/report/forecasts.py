"""Pictures of forecasts: with their intervals against the truth, and error by step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.forecasting import intervals
from unroll.report.curves import BLUE, EVALUATIONS, INK, MUTED, dress
from unroll.report.figures import figure_of
from unroll.report.pictures import save

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.axes import Axes


class Forecast(NamedTuple):
  """One forecast to draw, in the units of its column.

  Attributes:
    column: its name.
    stamp: of the first step that is forecast.
    past: `[T]`, the values before; NaN where one is missing.
    truth: `[K]`, the values that came; NaN where there is none.
    forecast: `[K, Q]`.
    quantiles: the Q levels, see `Forecaster`; () where Q is 1.
  """

  column: str
  stamp: str
  past: NDArray
  truth: NDArray
  forecast: NDArray
  quantiles: Sequence[float] = ()


def forecasts(shown: Sequence[Forecast], title: str, path: str | Path) -> None:
  """Draws forecasts, a panel each, two in a row, into a PNG file 1200 pixels wide.

  The past is as long as the horizon, or as there is of it.
  """
  figure, panels = figure_of(len(shown), title)
  for panel, forecast in zip(panels, shown):
    _forecast(panel, forecast)
  save(figure, path)


def errors(
  found: Mapping[str, NDArray], measure: str, title: str, path: str | Path
) -> None:
  """Draws errors by the step of the horizon into a PNG file 1200 pixels wide.

  Args:
    found: `[K]` by the name of a model or baseline, NaN where nothing counted; the
      first is the model.
    measure: what the errors are, with its unit.
    title: of the picture.
    path: of the PNG file.
  """
  figure, (panel,) = figure_of(1, title)
  for number, (name, values) in enumerate(found.items()):
    steps = np.arange(1, len(values) + 1)
    marker = "o" if len(values) <= 30 else ""
    color = BLUE if not number else EVALUATIONS[(number - 1) % len(EVALUATIONS)]
    style = {"lw": 2.2} if not number else {"lw": 1.3, "ls": (0, (5, 2))}
    label = f"{name}: {np.nanmean(values):.4g}" if np.isfinite(values).any() else name
    panel.plot(steps, values, color=color, marker=marker, ms=3.5, label=label, **style)
  panel.set_ylim(bottom=0)
  panel.set_xlabel("steps ahead", color=MUTED)
  dress(panel, "Error of the forecast of each step, and its mean", measure)
  # Beside the lines, which may be anywhere within.
  panel.legend(fontsize=9, labelcolor=INK, edgecolor="none", bbox_to_anchor=(1, 1.02))
  save(figure, path)


def _forecast(axes: "Axes", shown: Forecast) -> None:
  steps = np.arange(1, len(shown.forecast) + 1)
  past = shown.past[len(shown.past) - len(steps) :] if len(steps) else shown.past
  whole = np.concatenate([past, shown.truth])
  marker = "o" if len(steps) <= 30 else ""
  at = np.arange(1 - len(past), len(steps) + 1)
  axes.plot(at, whole, color=INK, lw=1.2, marker=marker, ms=2.5, label="truth")
  pairs = intervals(shown.quantiles)
  for number, (low, high) in enumerate(pairs):  # widest first
    share = shown.quantiles[high] - shown.quantiles[low]
    edges = shown.forecast[:, low], shown.forecast[:, high]
    label = f"interval of {share:.0%}"
    axes.fill_between(
      steps, *edges, color=BLUE, alpha=0.15 + 0.12 * number, lw=0, label=label
    )
  levels = list(shown.quantiles)
  point = shown.forecast[:, levels.index(0.5) if levels else 0]
  label = "median" if levels else "forecast"
  axes.plot(steps, point, color=BLUE, lw=1.8, marker=marker, ms=2.5, label=label)
  axes.axvline(0.5, color=MUTED, lw=0.8, ls=(0, (2, 3)))
  bottom, top = axes.get_ylim()
  axes.set_ylim(bottom, top + 0.28 * (top - bottom))  # room for the legend
  axes.set_xlabel("steps ahead", color=MUTED)
  dress(axes, f"{shown.column}, forecast from {shown.stamp} on", "")
  axes.title.set_parse_math(False)
  axes.legend(fontsize=8.5, labelcolor=INK, edgecolor="none", loc="upper left", ncols=4)
