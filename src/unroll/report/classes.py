"""Pictures of a classifier: what is taken for what, and how sure it is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.report.curves import BLUE, INK, MUTED, dress
from unroll.report.figures import figure_of
from unroll.report.pictures import save


def confusion(
  counts: NDArray, classes: Sequence[str], title: str, path: str | Path
) -> None:
  """Draws a confusion matrix into a PNG file 1200 pixels wide.

  Args:
    counts: `[C, C]`, what labels are by what they were taken for.
    classes: the C labels.
    title: of the picture.
    path: of the PNG file.
  """
  size = len(classes)
  figure, (panel,) = figure_of(1, title, height=min(max(3.5, 0.42 * size + 2), 24))
  shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
  if size <= 30:
    for i, j in np.argwhere(counts > 0).tolist():
      color = "white" if shares[i, j] > 0.55 else INK
      panel.text(j, i, f"{counts[i, j]:,.0f}", ha="center", va="center", color=color)
  dress(panel, "Counts; a shade is the share of a row", "what it is")
  some = list(range(0, size, -(-size // 40)))
  names = [_short(classes[i]) for i in some]
  turned = 0 if sum(map(len, names)) < 90 else 60
  # After `dress`, which places ticks of its own.
  panel.set_xticks(some, names, rotation=turned, ha="right" if turned else "center")
  panel.set_yticks(some, names)
  panel.set_xlabel("taken for", color=MUTED)
  panel.grid(False)
  for text in (*panel.get_xticklabels(), *panel.get_yticklabels()):
    text.set_parse_math(False)
  save(figure, path)


def calibration(
  sure: NDArray, right: NDArray, counts: NDArray, title: str, path: str | Path
) -> None:
  """Draws accuracy by confidence into a PNG file 1200 pixels wide.

  Args:
    sure: `[bins]`, the sum of the probabilities of what was predicted.
    right: `[bins]`, how many of these were right.
    counts: `[bins]`, how many there are.
    title: of the picture.
    path: of the PNG file.
  """
  figure, (left, beside) = figure_of(2, title, height=4)
  there = counts > 0
  x, y = sure[there] / counts[there], right[there] / counts[there]
  left.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (5, 2)), label="calibrated")
  left.plot(x, y, color=BLUE, lw=1.8, marker="o", ms=5, label="model")
  left.set_xlim(0, 1.01)
  left.set_ylim(0, 1.02)
  left.set_xlabel("probability of the label that was chosen", color=MUTED)
  dress(left, "How often it is right, by how sure it is", "accuracy")
  left.legend(fontsize=9, labelcolor=INK, edgecolor="none", loc="upper left")
  width = 1 / len(counts)
  beside.bar((np.arange(len(counts)) + 0.5) * width, counts, 0.9 * width, color=BLUE)
  beside.set_xlim(0, 1.01)
  beside.set_xlabel("probability of the label that was chosen", color=MUTED)
  dress(beside, "How many are that sure", "examples")
  save(figure, path)


def _short(name: str) -> str:
  return name if len(name) <= 18 else name[:17] + "…"
