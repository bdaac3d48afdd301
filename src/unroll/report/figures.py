"""A figure of panels."""

from typing import TYPE_CHECKING

from unroll.report.curves import INK

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

WIDTH, HEIGHT = 12, 3.4  # inches, of a figure and of a row of panels


def figure_of(
  panels: int, title: str, height: float = HEIGHT, columns: int = 2
) -> tuple["Figure", list["Axes"]]:
  """A figure 1200 pixels wide, and its panels.

  Args:
    panels: how many.
    title: of the whole.
    height: of a row, in inches.
    columns: the most panels in a row.
  """
  # Figure by hand, not by pyplot: no global state, no window.
  from matplotlib.figure import Figure

  columns = min(columns, max(panels, 1))
  rows = max(-(-panels // columns), 1)
  figure = Figure(figsize=(WIDTH, height * rows + 0.6), facecolor="white")
  figure.set_layout_engine("constrained")
  figure.suptitle(title, color=INK, fontsize=14, fontweight="bold", parse_math=False)
  found = list(figure.subplots(rows, columns, squeeze=False).flat)
  for spare in found[panels:]:
    spare.remove()
  return figure, found[:panels]
