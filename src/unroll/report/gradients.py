"""The picture of gradients that flow back through time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.report.curves import BLUE, EVALUATIONS, MUTED, dress
from unroll.report.figures import figure_of, save

STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)))  # of a layer's states


def gradients(
  norms: Mapping[str, Mapping[str, NDArray]], title: str, path: str | Path
) -> None:
  """Draws the norm of a gradient by lag, logarithmic: a colour a layer, a line a state.

  Args:
    norms: by the name of a layer and that of its state, `[N]`, from lag 0 on.
    title: of the picture.
    path: of the PNG file, 1200 pixels wide.
  """
  figure, [axes] = figure_of(1, title, height=5, columns=1)
  axes.set_yscale("log")
  colors = (BLUE, *EVALUATIONS)
  for number, (layer, states) in enumerate(norms.items()):
    for place, (state, values) in enumerate(states.items()):
      shown = np.where(values > 0, values, np.nan)
      axes.plot(
        shown,
        color=colors[number % len(colors)],
        ls=STYLES[place % len(STYLES)],
        lw=1.8,
        label=f"{layer} {state}".strip(),
      )
  axes.set_xlabel("lag, steps", color=MUTED)
  dress(
    axes, "Gradient of one step's loss to the carry that an earlier step reads", "norm"
  )
  save(figure, path)
