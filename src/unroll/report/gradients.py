"""The picture of gradients that flow back through time, and of what carries them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unroll.diagnose import Descent, Extremes
from unroll.report.curves import BLUE, EVALUATIONS, GRID, INK, MUTED, dress
from unroll.report.figures import figure_of
from unroll.report.pictures import save

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.axes import Axes

STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)))  # of a layer's states
COLORS = (BLUE, *EVALUATIONS)

Named = Mapping[str, Mapping[str, Any]]  # by the name of a layer, and that of its state


def gradients(
  norms: Named,
  title: str,
  path: str | Path,
  *,
  gates: Named | None = None,
  products: Mapping[int, Extremes] | None = None,
  eigenvalues: Named | None = None,
  descents: Mapping[str, Descent] | None = None,
) -> None:
  """Draws the norm of a gradient by lag, logarithmic: a colour a layer, a line a state.

  Beside it, where they are given: the time scales of gates, the singular values of
  products of Jacobians, the eigenvalues of recurrent matrices, and how smooth the loss
  is along descents.

  Args:
    norms: by the name of a layer and that of its state, `[N]`, from lag 0 on.
    title: of the picture.
    path: of the PNG file, 1200 pixels wide.
    gates: a `diagnose.Gate` by layer and state.
    products: by lag.
    eigenvalues: by layer and parameter, `[H]` a matrix.
    descents: by name.
  """
  given: list[tuple[Callable, Any]] = [
    (_norms, norms),
    (_gates, gates),
    (_products, products),
    (_spectra, eigenvalues),
    (_descents, descents),
  ]
  drawn = [(draw, found) for draw, found in given if found]
  columns = min(len(drawn), 2)
  figure, panels = figure_of(len(drawn), title, 5 if columns == 1 else 4, columns)
  for axes, (draw, found) in zip(panels, drawn, strict=True):
    draw(axes, found)
  save(figure, path)


def _lines(named: Named) -> Iterator[tuple[str, str, Any, Any]]:
  """What is named, each with its label, colour and style."""
  for number, (layer, states) in enumerate(named.items()):
    for place, (state, found) in enumerate(states.items()):
      color, style = COLORS[number % len(COLORS)], STYLES[place % len(STYLES)]
      yield f"{layer} {state}".strip(), color, style, found


def _norms(axes: "Axes", norms: Named) -> None:
  axes.set_yscale("log")
  for label, color, style, values in _lines(norms):
    shown = np.where(values > 0, values, np.nan)
    axes.plot(shown, color=color, ls=style, lw=1.8, label=label)
  axes.set_xlabel("lag, steps", color=MUTED)
  dress(axes, "Gradient of one step's loss to an earlier step's carry", "norm")


def _gates(axes: "Axes", gates: Named) -> None:
  """A line from the least to the greatest time scale, a bar between quartiles."""
  axes.set_yscale("log")
  names = []
  for place, (label, color, _, gate) in enumerate(_lines(gates)):
    finite = np.array(gate.scales)
    finite[~((finite > 0) & np.isfinite(finite))] = np.nan
    least, low, median, high, most = finite
    axes.plot([place, place], [least, most], color=color, lw=1.5)
    axes.plot([place, place], [low, high], color=color, lw=12, solid_capstyle="butt")
    axes.plot(place, median, "_", color="white", ms=14, mew=2)
    names.append(f"{label}\n{gate.closed:.0%} < 0.1, {gate.open:.0%} > 0.9")
  dress(axes, "Time scales of the units whose state a gate keeps", "steps")
  axes.set_xticks(range(len(names)), names, color=INK, fontsize=9)
  axes.set_xlim(-0.6, len(names) - 0.4)


def _products(axes: "Axes", products: Mapping[int, Extremes]) -> None:
  """Powers of ten: the numbers themselves may be too small for a float."""
  for name, color in zip(Extremes._fields, COLORS):
    logs = np.array([getattr(each, name) for each in products.values()]) / np.log(10)
    shown = np.where(np.isfinite(logs), logs, np.nan)
    axes.plot(list(products), shown, "o-", color=color, lw=1.8, ms=4, label=name)
  axes.axhline(0, color=MUTED, lw=1)
  axes.set_xlabel("lag, steps", color=MUTED)
  dress(axes, "Singular values of products of Jacobians", "power of ten")


def _spectra(axes: "Axes", eigenvalues: Named) -> None:
  circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
  axes.plot(circle.real, circle.imag, color=GRID, lw=1.5)
  for label, color, _, matrices in _lines(eigenvalues):
    values: NDArray = np.concatenate(matrices)
    axes.plot(values.real, values.imag, ".", color=color, ms=3, label=label)
  axes.set_aspect("equal", "datalim")
  axes.set_xlabel("real part", color=MUTED)
  dress(axes, "Eigenvalues of recurrent matrices", "imaginary part")


def _descents(axes: "Axes", descents: Mapping[str, Descent]) -> None:
  """A dot a step, by the norm of its gradient; a larger one where the way begins."""
  from matplotlib.ticker import LogFormatter, LogLocator

  axes.set_xscale("log")
  axes.set_yscale("log")
  for (name, way), color in zip(descents.items(), COLORS):
    there = (way.norms > 0) & (way.smoothness > 0)
    x, y = np.where(there, way.norms, np.nan), np.where(there, way.smoothness, np.nan)
    axes.plot(x, y, "o-", color=color, lw=0.6, ms=3.5, label=name)
    axes.plot(x[:1], y[:1], "o", color=color, ms=9)
  axes.set_xlabel("norm of the gradient", color=MUTED)
  title = "Smoothness of the loss along gradient descent"
  dress(axes, title, "change of gradient", "lower right")
  axes.xaxis.set_major_locator(LogLocator())
  axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
