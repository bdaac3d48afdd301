"""The page of a sweep: one HTML file that needs nothing else, not even a network.

The data are JSON inside the page, the pictures SVG that its script draws. What comes
from runs is nobody's HTML: the script sets text, never markup, and the page's own
policy lets no other script run and nothing be fetched.
"""

import base64
import hashlib
import html
import json
import string
from pathlib import Path
from typing import Any

from launch.page.gather import gather
from launch.plan import REPORT
from unroll import files

__all__ = ["gather", "render", "write"]

HERE = Path(__file__).parent
# In the order in which one needs the other.
SCRIPTS = ("draw", "trials", "table", "curves", "parallel", "heat", "scatter", "page")


def write(sweep: Path, out: Path | None = None) -> Path:
  """Writes the page of a sweep, under way or finished.

  Args:
    sweep: its folder.
    out: the page; None: `report.html` in the folder.

  Returns:
    Where the page is.

  Raises:
    BadInput: if the folder is none.
    OSError: if the page cannot be written.
  """
  out = out or sweep / REPORT
  page = render(gather(sweep, out))
  files.write(out, page)
  return out


def render(data: dict[str, Any]) -> str:
  """The page that shows what `gather` found."""
  script = "".join((HERE / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
  script = f'"use strict";\n{script}'
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  template = string.Template((HERE / "page.html").read_text("utf-8"))
  return template.substitute(
    title=html.escape(f"Sweep of {data['experiment']}"),
    digest=digest,
    style=(HERE / "page.css").read_text("utf-8"),
    script=script,
    data=embedded(data),
  )


def embedded(data: dict[str, Any]) -> str:
  """JSON that may stand in a script element: nothing in it can end the element."""
  text = json.dumps(data, separators=(",", ":"), allow_nan=False)
  return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
