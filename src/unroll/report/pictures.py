"""How a figure becomes a file, which appears whole."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from unroll import files

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.figure import Figure


def save(figure: "Figure", path: str | Path) -> None:
  """Writes a figure, of 100 dots an inch unless it has its own.

  Args:
    figure: drawn.
    path: its ending says in which form, such as `.png`.

  Raises:
    OSError: the file cannot be written; what was there stays.
  """
  path, found = Path(path), io.BytesIO()
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Glyph")  # a name may be in any script
    figure.savefig(found, format=path.suffix.removeprefix(".") or None)
  files.write(path, found.getvalue())
