"""Pictures of attention: a cell for each weight, a veil where was not looked."""

import numpy as np
import pytest
from PIL import Image

from unroll.report.attention import VEIL, Looked, Read, heat, looks
from unroll.report.curves import BLUE


def drawn(path):
  picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
  assert picture.shape[1] == 1200
  return picture


def share(picture, colour):
  return (np.abs(picture - colour).max(-1) < 3).mean()


def test_a_cell_is_as_dark_as_its_weight(tmp_path):
  blue = [int(BLUE[i : i + 2], 16) for i in (1, 3, 5)]
  half = [(255 + c) / 2 for c in blue]
  for rows in ([[1, 0], [0, 0.5]], [[1, 1], [0.5, 1]]):
    weights = np.array(rows)
    # What could be taken for a formula, and another script, are words too.
    read = Read(["$_$", "日"], ["<eos>", "x$"], weights)
    heat(
      [read, read, Read([], ["x"], np.zeros((1, 0)))], "50 $_$ & 5", tmp_path / "a.png"
    )
    picture = drawn(tmp_path / "a.png")
    cell = share(picture, blue) / (weights == 1).sum()
    assert cell > 0.01
    assert share(picture, half) == pytest.approx(cell * (weights == 0.5).sum(), rel=0.2)


def test_what_was_not_looked_at_is_under_a_veil(tmp_path):
  image = np.full((8, 6, 3), (200, 0, 0), np.uint8)
  weights = np.zeros((9, 4, 3))
  weights[:, 3] = 0.3
  looks([Looked(image, ["red"] * 9, weights)], "a", tmp_path / "a.png")
  picture = drawn(tmp_path / "a.png")
  whole = share(picture, (200, 0, 0))
  veiled = np.round(np.array([200, 0, 0]) * (1 - VEIL) + 255 * VEIL)
  # One picture as it is and nine that are clear in a quarter, softly bounded.
  assert whole / (share(picture, veiled) + whole) == pytest.approx(3.25 / 10, abs=0.08)


def test_a_word_that_looked_nowhere(tmp_path):
  image = np.zeros((4, 4, 3), np.uint8)
  looks([Looked(image, ["a"], np.zeros((1, 2, 2)))] * 2, "a", tmp_path / "a.png")
  assert drawn(tmp_path / "a.png").shape[0] > 200
