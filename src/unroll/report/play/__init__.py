"""A page to play with a trained model: what it is made of, in one HTML file."""

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SCRIPTS = ("interpreter", "draws", "sources", "parts", "strips", "language", "others")


def play_page(title: str, about: str, data: Mapping[str, Any], served: bool) -> str:
  """The page.

  Args:
    title: its title.
    about: a line below it.
    data: what its script reads, JSON; "kind" says which page it is.
    served: whether it may ask the server that it came from; nobody else in any case.
  """
  style = FOLDER.with_name("base.css"), FOLDER / "style.css"
  scripts = (FOLDER / f"{name}.js" for name in SCRIPTS)
  parts = {
    "title": html.escape(title),
    "about": html.escape(about),
    "connect": "'self'" if served else "'none'",
    "style": "\n".join(path.read_text("utf-8") for path in style),
    "script": "\n".join(path.read_text("utf-8") for path in scripts),
    # No text of a model can end the element that it stands in.
    "data": json.dumps(data).replace("<", "\\u003c"),
  }
  template = (FOLDER / "page.html").read_text("utf-8")
  return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
