"""What one can run: `python -m experiments` lists the pages, a line each."""

import ast
import sys
from pathlib import Path


def pages() -> dict[str, str]:
  """The first sentence about each page, by its name; read without importing it."""
  found = {}
  for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    about = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    found[path.stem] = about.partition("\n")[0]
  return found


if __name__ == "__main__":
  if len(sys.argv) > 1:
    found = f"python -m experiments takes no {sys.argv[1]!r}"
    print(f"error: {found}: give a page as experiments.NAME", file=sys.stderr)
    sys.exit(2)
  for name, about in pages().items():
    print(f"{name:12} {about}")
  print("\npython -m experiments.NAME --help lists the flags of a page")
