"""The picture of influence balancing: where each scheme takes the parameter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unroll.report.curves import BLUE, EVALUATIONS, MUTED, dress
from unroll.report.figures import figure_of
from unroll.report.pictures import save

SHOWN = 0.8  # of θ, on both sides
FAR = 10  # as much is drawn, outside of the picture


class Way(Protocol):
  """θ after so many steps, `[N]` each."""

  @property
  def steps(self) -> NDArray: ...
  @property
  def theta(self) -> NDArray: ...


def balancing(ways: Mapping[str, Way], least: float, path: str | Path) -> None:
  """Draws θ by step, a line a scheme.

  Args:
    ways: by the name of the scheme.
    least: θ of the least loss, a dashed line.
    path: of the PNG file, 1200 pixels wide.
  """
  figure, [axes] = figure_of(1, "Influence balancing", height=5, columns=1)
  colors = (BLUE, *EVALUATIONS)
  for number, (name, way) in enumerate(ways.items()):
    theta = np.where(np.isfinite(way.theta), way.theta, np.nan)
    axes.plot(
      way.steps,
      np.clip(theta, -FAR, FAR),
      color=colors[number % len(colors)],
      ls=("-", (0, (4, 2)))[number // len(colors) % 2],
      lw=1.8,
      label=name,
    )
  axes.axhline(least, color=MUTED, lw=1, ls=":")
  axes.set_ylim(-SHOWN, SHOWN)
  axes.set_xlabel("step of the system", color=MUTED)
  dress(axes, f"θ along gradients of a scheme; the loss is least at {least:.3f}", "θ")
  axes.set_xscale("log")
  axes.xaxis.set_major_formatter("{x:,.0f}")
  save(figure, path)
