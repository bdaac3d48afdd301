"""Pictures of attention: which places each written word looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.report.curves import BLUE, GRID, INK, MUTED
from unroll.report.figures import WIDTH, figure_of
from unroll.report.pictures import save

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.axes import Axes

CELL = 0.28  # inches, the height of a word's row; of long texts less
TALLEST = 12.0  # inches, of a panel
NARROW = 18  # words; where a text has more of them a panel has the whole width
ACROSS = 8  # pictures side by side: the one looked at, and then one for each word
VEIL = 0.85  # how white a place becomes that was not looked at


class Read(NamedTuple):
  """A text, and what was read of another as each word was written.

  Attributes:
    source: S words; of places that follow closely some may be empty.
    target: T words.
    weights: `[T, S]`, from 0 to 1.
  """

  source: Sequence[str]
  target: Sequence[str]
  weights: NDArray


class Looked(NamedTuple):
  """A picture, and where was looked as each word was written.

  Attributes:
    image: uint8 `[height, width, 3]`.
    words: T words.
    weights: `[T, rows, columns]` of places that cover the picture.
  """

  image: NDArray
  words: Sequence[str]
  weights: NDArray


def heat(shown: Sequence[Read], title: str, path: str | Path) -> None:
  """Draws weights of texts into a PNG file 1200 pixels wide; a darker cell has more.

  Source words stand above the columns, target words beside the rows.

  Args:
    shown: the texts; each has a panel.
    title: of the picture.
    path: of the PNG file.
  """
  from matplotlib.colors import LinearSegmentedColormap

  longest = max(len(one.target) for one in shown)
  widest = max(len(one.source) for one in shown)
  columns = 2 if max(longest, widest) <= NARROW else 1
  labels = 0.08 * max(map(len, (w for one in shown for w in one.source)), default=0)
  height = min(CELL * longest, TALLEST) + labels + 0.4
  figure, panels = figure_of(len(shown), title, height, columns=columns)
  shades = LinearSegmentedColormap.from_list("weights", ["white", BLUE])
  for axes, one in zip(panels, shown):
    if one.weights.size:  # a source may have no word
      axes.imshow(one.weights, cmap=shades, vmin=0, vmax=1, aspect="auto")
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(one.source)), one.source, rotation=90)
    axes.set_yticks(range(len(one.target)), one.target)
    # A line between cells, which are at whole numbers.
    axes.set_xticks(np.arange(len(one.source) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(one.target) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GRID, lw=0.5)
    axes.tick_params(which="both", length=0, labelcolor=INK, labelsize=_size(one))
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
      label.set_parse_math(False)
    for spine in axes.spines.values():
      spine.set_color(GRID)
  save(figure, path)


def looks(shown: Sequence[Looked], title: str, path: str | Path) -> None:
  """Draws pictures into a PNG file 1200 pixels wide, each as it was looked at.

  Each comes first as it is, then once for each word, white where was not looked; of a
  word the place with the largest weight has no white.

  Args:
    shown: the pictures.
    title: of the picture.
    path: of the PNG file.
  """
  # Figure by hand, not by pyplot: no global state, no window.
  from matplotlib.figure import Figure

  rows = [-(-(1 + len(one.words)) // ACROSS) for one in shown]
  ratio = max(one.image.shape[0] / one.image.shape[1] for one in shown)
  height = (WIDTH / ACROSS) * ratio + 0.2  # inches, of a row with its words
  figure = Figure(figsize=(WIDTH, height * sum(rows) + 0.7), facecolor="white")
  figure.set_layout_engine("constrained")
  figure.suptitle(title, color=INK, fontsize=14, fontweight="bold", parse_math=False)
  every = figure.subplots(sum(rows), ACROSS, squeeze=False)
  top = 0
  for one, count in zip(shown, rows):
    panels = list(every[top : top + count].flat)
    top += count
    _picture(panels[0], one.image, "", None)
    for axes, word, weights in zip(panels[1:], one.words, one.weights):
      _picture(axes, one.image, word, weights)
    for spare in panels[1 + len(one.words) :]:
      spare.remove()
  save(figure, path)


def _picture(axes: "Axes", image: NDArray, word: str, weights: NDArray | None) -> None:
  height, width = image.shape[:2]
  axes.imshow(image, interpolation="nearest")
  if weights is not None:
    share = weights / max(float(weights.max()), 1e-9)
    veil = np.ones((*weights.shape, 4))
    veil[..., 3] = VEIL * (1 - np.clip(share, 0, 1))
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(veil, extent=edges, interpolation="bilinear")
  axes.set_title(word, color=INK if word else MUTED, fontsize=10, pad=3)
  axes.title.set_parse_math(False)
  axes.set_xticks([])
  axes.set_yticks([])
  for spine in axes.spines.values():
    spine.set_color(GRID)


def _size(one: Read) -> float:
  """The size of words, in points, so that those of long texts do not overlap."""
  tall = min(72 * TALLEST / max(len(one.target), 1), 72 * CELL)
  wide = 72 * (WIDTH - 2) / max(sum(map(bool, one.source)), 1)
  return float(np.clip(0.7 * min(tall, wide), 3, 10))
