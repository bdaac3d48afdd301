"""Every chapter of the course runs, and says what is so."""

import json
import sys
from pathlib import Path

import pytest

COURSE = Path(__file__).parents[1] / "docs" / "course"
CHAPTERS = sorted(path.name[:2] for path in COURSE.glob("[0-9]*.md"))
QUICK = ("02", "03")


@pytest.mark.parametrize(
  "number",
  [
    number if number in QUICK else pytest.param(number, marks=pytest.mark.slow)
    for number in CHAPTERS
  ],
)
def test_a_chapter_runs(number, monkeypatch, capsys):
  monkeypatch.syspath_prepend(COURSE)
  # As its reader runs it: not with the strictness of other tests.
  import jax
  import lesson

  with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
    exec(lesson.chapter(number), {})
  assert capsys.readouterr().out
  sys.modules.pop("lesson")


def test_all_chapters_are_in_its_contents():
  contents = (COURSE / "README.md").read_text("utf-8")
  assert len(CHAPTERS) == 12
  assert all(path.name in contents for path in COURSE.glob("[0-9]*.md"))


def test_a_notebook_has_the_text_and_the_code_of_its_chapter(monkeypatch):
  monkeypatch.syspath_prepend(COURSE)
  import notebooks

  for path in COURSE.glob("[0-9]*.md"):
    text = path.read_text("utf-8")
    cells = json.loads(notebooks.notebook(text))["cells"]
    joined = [
      f"```python\n{cell['source']}\n```"
      if cell["cell_type"] == "code"
      else cell["source"]
      for cell in cells
    ]
    assert "".join("".join(joined).split()) == "".join(text.split())
    assert len({cell["id"] for cell in cells}) == len(cells)
