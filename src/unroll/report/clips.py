"""Pictures of clips: the truth, what was predicted, and the error, frame by frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.report.curves import BLUE, GRID, INK, MUTED, RED
from unroll.report.figures import WIDTH
from unroll.report.pictures import save

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.axes import Axes

FRAMES = 20  # the most in a row; of a longer clip some are left out
BESIDE, ABOVE, BETWEEN = 0.9, 0.75, 0.12  # inches: of names, of the title, of clips


class Shown(NamedTuple):
  """A clip to draw.

  Attributes:
    truth: `[T, height, width, C]`, grey values from 0 to 1; NaN where it is not known.
    predicted: the same, NaN where nothing was predicted.
  """

  truth: NDArray
  predicted: NDArray


def clips(shown: Sequence[Shown], context: int, title: str, path: str | Path) -> None:
  """Draws clips into a PNG file 1200 pixels wide, three rows of frames each.

  The rows are the truth, the prediction, and the prediction less the truth: red where
  it is too bright, blue where it is too dark. A truth that is nowhere known after the
  context has no row of errors.

  Args:
    shown: the clips, of one shape.
    context: frames that predictions after them were made from; a line is behind them.
    title: of the picture.
    path: of the PNG file.
  """
  # Figure by hand, not by pyplot: no global state, no window.
  from matplotlib.figure import Figure

  length, height, width, _ = shown[0].truth.shape
  steps = np.unique(np.linspace(0, length - 1, min(length, FRAMES)).astype(int))
  known = bool(np.isfinite(shown[0].truth[context:]).any())
  names = ["truth", "predicted", "error"] if known else ["given", "predicted"]
  side = (WIDTH - BESIDE - BETWEEN) / len(steps)  # inches, of a frame with its margin
  row = side * height / width
  tall = ABOVE + len(shown) * (len(names) * row + BETWEEN) + 0.1
  figure = Figure(figsize=(WIDTH, tall), facecolor="white")
  figure.suptitle(
    title, color=INK, fontsize=14, fontweight="bold", y=1 - 0.2 / tall, parse_math=False
  )
  split = int(np.searchsorted(steps, context))
  for number, clip in enumerate(shown):
    for place, name in enumerate(names):
      top = ABOVE + number * (len(names) * row + BETWEEN) + place * row
      for column, step in enumerate(steps):
        left = BESIDE + column * side + BETWEEN * (column >= split)
        box = (left / WIDTH, 1 - (top + 0.96 * row) / tall, 0.96 * side / WIDTH)
        axes = figure.add_axes((*box, 0.96 * row / tall))
        _frame(axes, clip, name, int(step))
        if not number and not place:
          axes.set_title(_label(int(step), context), color=MUTED, fontsize=9, pad=3)
      figure.text(
        (BESIDE - 0.08) / WIDTH,
        1 - (top + row / 2) / tall,
        name,
        color=INK,
        fontsize=10,
        ha="right",
        va="center",
      )
  save(figure, path)


def _label(step: int, context: int) -> str:
  """The number of a frame; of those after the context, how far it is ahead."""
  return f"+{step - context + 1}" if step >= context else f"{step + 1}"


def _frame(axes: "Axes", clip: Shown, name: str, step: int) -> None:
  truth, predicted = clip.truth[step], clip.predicted[step]
  frame = {"predicted": predicted, "error": predicted - truth}.get(name, truth)
  axes.set_xticks([])
  axes.set_yticks([])
  for spine in axes.spines.values():
    spine.set_color(GRID)
  if not np.isfinite(frame).all():
    axes.set_facecolor("#f6f7f8")
  elif name == "error":
    from matplotlib.colors import LinearSegmentedColormap

    signs = LinearSegmentedColormap.from_list("error", [BLUE, "white", RED])
    axes.imshow(frame.mean(-1), cmap=signs, vmin=-1, vmax=1, interpolation="nearest")
  elif frame.shape[-1] == 3:
    axes.imshow(np.clip(frame, 0, 1), interpolation="nearest")
  else:
    axes.imshow(frame.mean(-1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
