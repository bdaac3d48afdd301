"""The page of a run: what it was, how it went and what it says, in one HTML file."""

import base64
import html
import json
import math
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unroll import files
from unroll.metrics import Measure
from unroll.records import PER_SECOND, SPLITS

CURVES = "Measures, gradient norm, learning rate and speed by step"
TEMPLATE = Path(__file__).with_name("page.html")

# What every run's summary has on the page, after its measures, and how it is written.
FIGURES = {
  "parameters": ("parameters", ",d"),
  "steps": ("steps", ",d"),
  "seconds": ("seconds", ",.1f"),
  "skipped": ("steps skipped", ",d"),
}


def page(
  workdir: str | Path,
  *,
  command: str,
  summary: Mapping[str, Any],
  measures: Sequence[Measure] = (),
  shows: Sequence[str] = (),
  parameters: Mapping[str, tuple[int, ...]] | None = None,
  every: float = 0,
) -> Path:
  """Writes `report.html` from what a run left in its folder.

  Args:
    workdir: the run; `config.json`, `curves.png` and what `shows` names are shown as
      far as they are there and what was written.
    command: what repeats the run.
    summary: its final numbers, and whether it is "finished". Shown are those of
      `FIGURES`, of the measures that it has, and its speed.
    measures: how its "val/<name>", "online/<name>" and "train/<name>" are called and
      written; the first is the objective, whose "best/val/<name>" is shown as well.
    shows: text files, PNG pictures and MIDI files of the folder, a section each.
    parameters: their shapes by name.
    every: seconds after which a browser loads the page of a run at work anew; 0: never.

  Returns:
    The path of the page, in `workdir`.
  """
  workdir = Path(workdir)
  config = _config(workdir / "config.json")
  sections = [
    _section("Summary", _figures(summary, measures)),
    _section("Training", _picture(workdir / "curves.png", CURVES)),
    *(_section(_title(name), _shown(workdir / name)) for name in shows),
    _section("Parameters", _shapes(parameters or {})),
    _section("To repeat it", f"<pre>{html.escape(command)}</pre>"),
    _section("Flags", _table(config.get("flags", {}))),
    _section("Versions", _table(config.get("versions", {}))),
  ]
  state = "" if summary.get("finished") else ", not finished"
  path = workdir / "report.html"
  text = string.Template(TEMPLATE.read_text("utf-8")).substitute(
    title=html.escape(workdir.resolve().name),
    refresh=f'<meta http-equiv="refresh" content="{every:g}">\n' if every else "",
    experiment=html.escape(f"experiments.{config.get('experiment', '')}{state}"),
    sections="\n".join(filter(None, sections)),
  )
  # A command may hold bytes that are no text: they are shown as escapes.
  files.write(path, text.encode("utf-8", "backslashreplace"))
  return path


def _section(title: str, body: str) -> str:
  return f"<section>\n<h2>{title}</h2>\n{body}\n</section>" if body else ""


def _figures(summary: Mapping[str, Any], measures: Sequence[Measure]) -> str:
  named: dict[str, tuple[str, str]] = {}
  for number, measure in enumerate(measures):
    for split, label in SPLITS.items():
      named[f"{split}/{measure.name}"] = (f"{measure}, {label}", measure.form)
    if not number:
      named[f"best/val/{measure.name}"] = ("at its best", measure.form)
    named[f"train/{measure.name}"] = (f"training {measure}", measure.form)
  speeds = [name for name in summary if name.endswith(PER_SECOND)]
  rates = {name: (name.replace("_", " "), ",d") for name in speeds}
  found = [
    f"<div><b>{format(summary[key], form)}</b><span>{html.escape(name)}</span></div>"
    for key, (name, form) in {**named, **FIGURES, **rates}.items()
    if summary.get(key) is not None
  ]
  return f'<div class="figures">{"".join(found)}</div>' if found else ""


def _title(name: str) -> str:
  return Path(name).stem.replace("_", " ").capitalize()


def _shown(path: Path) -> str:
  if path.suffix == ".mid":
    return _link(path)
  return _picture(path, _title(path.name)) if path.suffix == ".png" else _text(path)


def _link(path: Path) -> str:
  if not path.is_file():
    return ""
  name = html.escape(path.name)
  return f'<p><a href="{name}">{name}</a>, beside this page</p>'


def _picture(path: Path, alt: str) -> str:
  if not path.is_file():
    return ""
  data = base64.b64encode(path.read_bytes()).decode()
  return f'<img alt="{alt}" src="data:image/png;base64,{data}">'


def _text(path: Path) -> str:
  if not path.is_file():
    return ""
  return f"<pre>{html.escape(path.read_text('utf-8', errors='replace'))}</pre>"


def _shapes(parameters: Mapping[str, tuple[int, ...]]) -> str:
  """Each array with its shape and how many numbers it has; then how many all have."""
  rows = {
    name: f"{' by '.join(map(str, shape)) or 'a number'} = {math.prod(shape):,}"
    for name, shape in parameters.items()
  }
  total = sum(map(math.prod, parameters.values()))
  return _table({**rows, "all": f"{total:,}"}) if rows else ""


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
