"""Pictures of piano rolls."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.music.rolls import HIGHEST, LOWEST, piece
from unroll.report.curves import BLUE, GRID, INK, MUTED
from unroll.report.figures import figure_of
from unroll.report.pictures import save

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.axes import Axes

HEIGHT = 3.6  # inches, of a panel
LEAST_KEYS = 24  # two octaves, of a panel
GIVEN = "#9aa3ad"  # of the notes of a primer


class Shown(NamedTuple):
  """A roll to draw.

  Attributes:
    title: of its panel.
    keys: `[T, 88]`, 1 where a key sounds.
    chances: `[T, 88]`, of each key to sound, drawn under the notes; None: none.
    given: steps at the beginning that were given and not drawn by a model.
  """

  title: str
  keys: NDArray
  chances: NDArray | None = None
  given: int = 0


def rolls(shown: Sequence[Shown], grid: int, title: str, path: str | Path) -> None:
  """Draws rolls, one below the other, into a PNG file 1200 pixels wide.

  A key that is held is one bar; a line stands below every C.

  Args:
    shown: the rolls.
    grid: steps of a beat.
    title: of the picture.
    path: of the PNG file.
  """
  figure, panels = figure_of(len(shown), title, HEIGHT, columns=1)
  for axes, one in zip(panels, shown):
    if one.chances is not None:
      _chances(axes, one.chances, grid)
    _notes(axes, one, grid)
    _dress(axes, one, grid)
  save(figure, path)


def _chances(axes: "Axes", chances: NDArray, grid: int) -> None:
  from matplotlib.colors import LinearSegmentedColormap

  image = axes.imshow(
    np.asarray(chances, float).T,
    cmap=LinearSegmentedColormap.from_list("chances", ["white", BLUE]),
    vmin=0,
    vmax=1,
    aspect="auto",
    origin="lower",
    interpolation="nearest",
    extent=(0, len(chances) / grid, LOWEST - 0.5, HIGHEST + 0.5),
  )
  bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
  bar.set_label("probability", color=MUTED)
  bar.ax.tick_params(colors=MUTED, length=0)
  bar.outline.set_visible(False)


def _notes(axes: "Axes", one: Shown, grid: int) -> None:
  from matplotlib.collections import PatchCollection
  from matplotlib.patches import Rectangle

  given, drawn = list[Rectangle](), list[Rectangle]()
  found = piece(one.keys, grid)
  for note in found.notes:
    start, end = note.start / found.per_beat, note.end / found.per_beat
    bars = given if start * grid < one.given else drawn
    bars.append(Rectangle((start, note.pitch - 0.4), end - start, 0.8))
  for bars, color in ((given, GIVEN), (drawn, BLUE)):
    face, edge = color, "white"
    if one.chances is not None:  # which are to be seen through the notes
      face, edge = "none", INK
    axes.add_collection(PatchCollection(bars, lw=0.8, facecolor=face, edgecolor=edge))
  if one.given:
    axes.axvline(one.given / grid, color=MUTED, lw=0.8, ls=(0, (2, 3)))


def _dress(axes: "Axes", one: Shown, grid: int) -> None:
  octaves = range(-(-LOWEST // 12) * 12, HIGHEST + 1, 12)
  axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
  for pitch in octaves:
    axes.axhline(pitch - 0.5, color=GRID, lw=0.8, zorder=0.5)
  low, high = _range(one.keys)
  axes.set_ylim(low - 0.5, high + 0.5)
  axes.set_xlim(0, max(len(one.keys), 1) / grid)
  axes.set_xlabel("beats", color=MUTED)
  axes.set_title(one.title, loc="left", color=INK, fontsize=12, parse_math=False)
  axes.tick_params(colors=MUTED, length=0)
  axes.spines[["left", "top", "right"]].set_visible(False)
  axes.spines["bottom"].set_color(GRID)


def _range(keys: NDArray) -> tuple[int, int]:
  """The pitches that a panel shows: those that sound, and two octaves at the least."""
  sounding = np.flatnonzero(np.any(keys, axis=0)) + LOWEST
  low, high = (60, 60) if not sounding.size else (sounding.min(), sounding.max())
  spare = max(LEAST_KEYS - (high - low + 1), 2)
  return int(low - spare // 2), int(high + (spare + 1) // 2)
