"""The page of a run: what it was, how it went and what it says, in one HTML file."""

import base64
import html
import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unroll import files

TEMPLATE = Path(__file__).with_name("page.html")

# What a summary is called on the page, in this order, and how it is written.
FIGURES = {
  "val/bits_per_char": ("bits per character, validation", ".3f"),
  "best/val/bits_per_char": ("at its best", ".3f"),
  "val/perplexity": ("perplexity, validation", ",.2f"),
  "train/loss": ("training loss, nats", ".3f"),
  "parameters": ("parameters", ",d"),
  "steps": ("steps", ",d"),
  "tokens_per_second": ("tokens per second", ",d"),
  "seconds": ("seconds", ",.1f"),
  "skipped": ("steps skipped", ",d"),
}


def page(workdir: str | Path, *, command: str, summary: Mapping[str, Any]) -> Path:
  """Writes `report.html` from what a run left in its folder.

  Args:
    workdir: the run; `config.json`, `curves.png` and `sample.txt` are shown as far as
      they are there and what was written.
    command: what repeats the run.
    summary: its final numbers, those of `FIGURES` that it has, and whether it is
      "finished".

  Returns:
    The path of the page, in `workdir`.
  """
  workdir = Path(workdir)
  config = _config(workdir / "config.json")
  sections = [
    _section("Summary", _figures(summary)),
    _section("Training", _picture(workdir / "curves.png")),
    _section("Samples", _text(workdir / "sample.txt")),
    _section("To repeat it", f"<pre>{html.escape(command)}</pre>"),
    _section("Flags", _table(config.get("flags", {}))),
    _section("Versions", _table(config.get("versions", {}))),
  ]
  state = "" if summary.get("finished") else ", not finished"
  path = workdir / "report.html"
  text = string.Template(TEMPLATE.read_text("utf-8")).substitute(
    title=html.escape(workdir.resolve().name),
    experiment=html.escape(f"experiments.{config.get('experiment', '')}{state}"),
    sections="\n".join(filter(None, sections)),
  )
  # A command may hold bytes that are no text: they are shown as escapes.
  files.write(path, text.encode("utf-8", "backslashreplace"))
  return path


def _section(title: str, body: str) -> str:
  return f"<section>\n<h2>{title}</h2>\n{body}\n</section>" if body else ""


def _figures(summary: Mapping[str, Any]) -> str:
  found = [
    f"<div><b>{format(summary[key], form)}</b><span>{name}</span></div>"
    for key, (name, form) in FIGURES.items()
    if summary.get(key) is not None
  ]
  return f'<div class="figures">{"".join(found)}</div>' if found else ""


def _picture(path: Path) -> str:
  if not path.is_file():
    return ""
  data = base64.b64encode(path.read_bytes()).decode()
  alt = "Loss, gradient norm, learning rate and speed by step"
  return f'<img alt="{alt}" src="data:image/png;base64,{data}">'


def _text(path: Path) -> str:
  if not path.is_file():
    return ""
  return f"<pre>{html.escape(path.read_text('utf-8', errors='replace'))}</pre>"


def _table(rows: Any) -> str:
  if not isinstance(rows, Mapping):  # a file that someone has changed
    return ""
  cells = "".join(
    f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(_plain(value))}</dd></div>"
    for name, value in rows.items()
  )
  return f"<dl>{cells}</dl>" if cells else ""


def _plain(value: Any) -> str:
  if isinstance(value, list):
    return ",".join(map(str, value))
  return "none" if value is None or value == "" else str(value)


def _config(path: Path) -> dict[str, Any]:
  if not path.is_file():
    return {}
  try:
    found = json.loads(path.read_text("utf-8"))
  except (ValueError, RecursionError):
    return {}
  return found if isinstance(found, dict) else {}
