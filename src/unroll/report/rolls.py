"""Pictures of piano rolls."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.music.rolls import KEYS, LOWEST, piece
from unroll.report.curves import BLUE, GRID, INK, MUTED

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.axes import Axes

WIDTH, HEIGHT = 12, 3.6  # inches, of a picture and of a panel
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
  # Figure by hand, not by pyplot: no global state, no window.
  from matplotlib.figure import Figure

  figure = Figure(figsize=(WIDTH, HEIGHT * len(shown) + 0.6), facecolor="white")
  figure.set_layout_engine("constrained")
  figure.suptitle(title, color=INK, fontsize=14, fontweight="bold", parse_math=False)
  for axes, one in zip(figure.subplots(len(shown), 1, squeeze=False).flat, shown):
    _panel(axes, one, grid)
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Glyph")  # a name may be in any script
    figure.savefig(path, dpi=100)


def _panel(axes: "Axes", one: Shown, grid: int) -> None:
  from matplotlib.collections import PatchCollection
  from matplotlib.colors import LinearSegmentedColormap
  from matplotlib.patches import Rectangle

  steps = len(one.keys)
  low, high = _range(one.keys)
  if one.chances is not None:
    white_to_blue = LinearSegmentedColormap.from_list("chances", ["white", BLUE])
    image = axes.imshow(
      np.asarray(one.chances, float).T,
      cmap=white_to_blue,
      vmin=0,
      vmax=1,
      aspect="auto",
      origin="lower",
      interpolation="nearest",
      extent=(0, steps / grid, LOWEST - 0.5, LOWEST + KEYS - 0.5),
    )
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
    bar.set_label("probability", color=MUTED)
    bar.ax.tick_params(colors=MUTED, length=0)
    bar.outline.set_visible(False)
  notes = piece(one.keys, grid)
  for given, color in ((True, GIVEN), (False, BLUE)):
    bars = [
      Rectangle(
        (note.start / notes.per_beat, note.pitch - 0.4),
        (note.end - note.start) / notes.per_beat,
        0.8,
      )
      for note in notes.notes
      if (note.start * grid < one.given * notes.per_beat) == given
    ]
    face = "none" if one.chances is not None else color
    edge = INK if one.chances is not None else "white"
    axes.add_collection(PatchCollection(bars, facecolor=face, edgecolor=edge, lw=0.8))
  if one.given:
    axes.axvline(one.given / grid, color=MUTED, lw=0.8, ls=(0, (2, 3)))
  axes.set_xlim(0, max(steps, 1) / grid)
  axes.set_ylim(low - 0.5, high + 0.5)
  octaves = [pitch for pitch in range(LOWEST, LOWEST + KEYS) if pitch % 12 == 0]
  axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
  for pitch in octaves:
    axes.axhline(pitch - 0.5, color=GRID, lw=0.8, zorder=0.5)
  axes.set_ylim(low - 0.5, high + 0.5)  # which set_yticks may have changed
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
