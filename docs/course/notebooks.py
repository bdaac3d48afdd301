"""The chapters as notebooks: `python docs/course/notebooks.py` writes them beside them.

Jupyter is not needed to write them, and not part of this package to run them.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent


def notebook(text):
  """A chapter as a notebook of version 4.5: JSON.

  Args:
    text: of the chapter, whose code stands between fences.
  """
  cells = []
  for number, part in enumerate(text.split("```python\n")):
    code, _, prose = part.partition("\n```\n") if number else ("", "", part)
    if number:
      own = {"execution_count": None, "outputs": []}
      cells.append({"cell_type": "code", "source": code.strip("\n"), **own})
    if prose.strip():
      cells.append({"cell_type": "markdown", "source": prose.strip()})
  for number, cell in enumerate(cells):
    cell |= {"id": f"cell-{number}", "metadata": {}}
  kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
  whole = {"cells": cells, "metadata": {"kernelspec": kernel}}
  return json.dumps({**whole, "nbformat": 4, "nbformat_minor": 5}, indent=1)


if __name__ == "__main__":
  for path in sorted(FOLDER.glob("[0-9]*.md")):
    path.with_suffix(".ipynb").write_text(notebook(path.read_text("utf-8")), "utf-8")
    print(path.with_suffix(".ipynb"))
