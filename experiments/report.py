"""The page of a run, from what is in its folder: also of one that is still at work.

  python -m experiments.report --workdir=RUN
  python -m experiments.report --workdir=RUN --every=10 --open

A run writes its page when it ends. This writes `report.html` of one that is being
trained, or was killed; with `--every` again and again, for a browser that shows it and
loads it anew each time. It reads the folder alone, so that it can be started any time.
"""

import importlib
import math
import time
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.session import door, folder
from experiments.session.settings import Page, Settings
from experiments.session.terminal import extra, warn
from unroll import names, records, stops
from unroll.loading import configuration, load
from unroll.metrics import SHOWN, Measure
from unroll.report.curves import curves
from unroll.report.page import page
from unroll.settings import checked, setting
from unroll.types import BadInput, Better

PICTURES = ("*.txt", "*.png", "*.mid")
OWN = ("curves.png",)


@dataclass(frozen=True)
class Report:
  """The page of a run"""

  workdir: str = setting("", "the folder of a run", kind="path", role="call")
  every: float = setting(
    0.0, "seconds between two pages, until Ctrl-C; 0: one page", least=0, role="call"
  )
  open: bool = setting(False, "shows the page in a browser", role="call")


def main(settings: Settings) -> None:
  """Writes the page, once or until Ctrl-C."""
  chosen = settings[Report]
  if not chosen.workdir:
    raise BadInput("give `workdir`, the folder of a run")
  path = Path(chosen.workdir)
  with stops.collected() as asked:
    while True:
      written = write(path, every=chosen.every)
      if chosen.open:
        webbrowser.open(written.resolve().as_uri())
        chosen = Report(chosen.workdir, chosen.every)
      if not chosen.every:
        print(written)
        return
      until = time.monotonic() + chosen.every
      while not asked and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
      if asked:
        write(path)  # which a browser does not load anew
        print(written)
        return


def write(path: Path, every: float = 0) -> Path:
  """Writes the page of a run as it stands.

  Args:
    path: its folder.
    every: seconds after which a browser loads the page again; 0: never.
  """
  config = configuration(path)
  of_run = _page_of(config)
  found: list[records.Record] = []
  if (path / records.METRICS).is_file():
    found = records.read(path / records.METRICS, warn=warn)
  measures = _measures(found, of_run, config.get("measures", []))
  if any("train/loss" in record for record in found):
    with extra(path / "curves.png"):
      drawn = [measure for measure in measures if measure.drawn]
      limit = config["flags"].get("clip_norm")
      curves(path, measures=drawn, clip_norm=limit, warn=lambda said: None)
  return page(
    path,
    command=_command(of_run, config),
    summary=_summary(found, measures, config["flags"].get("steps")),
    measures=measures,
    shows=_shows(path),
    parameters=_parameters(path),
    every=every,
  )


def _page_of(config: Mapping[str, Any]) -> Page | None:
  """The page that trained a run; None if there is none of that name."""
  try:
    return importlib.import_module(f"experiments.{config['experiment']}").PAGE
  except (ImportError, AttributeError):
    return None


def _measures(
  found: Sequence[records.Record], of_run: Page | None, told: Sequence[Any]
) -> list[Measure]:
  """What evaluations have measured, the objective first.

  Args:
    found: the records.
    of_run: the page of the run.
    told: its measures as its configuration has them; a run of an older version has
      none, and its numbers no units.
  """
  kept = [measure for one in told if (measure := _measure(one))]
  if kept:
    return kept
  first, better = of_run.objective if of_run else ("loss", "lower")
  seen = dict.fromkeys(
    name.partition("/")[2]
    for record in found
    for name in record
    if name.partition("/")[0] in records.SPLITS
  )
  others = [name for name in seen if name != first and not name.startswith(f"{first}_")]
  return [
    Measure(name, "", better, _unknown, form=".4g", drawn=name == first)
    for name in (first, *others)
  ]


def _measure(told: Any) -> Measure | None:
  """A measure of a configuration; None if it is none."""
  try:
    shown = {name: told[name] for name in SHOWN}
    texts = [shown[name] for name in ("name", "unit", "form", "label")]
    format(0.5, shown["form"])
  except (TypeError, KeyError, ValueError):
    return None
  if not all(isinstance(text, str) for text in texts) or len(shown["form"]) > 9:
    return None
  better: Better = "higher" if shown["better"] == "higher" else "lower"
  return Measure(
    **{**shown, "better": better, "drawn": bool(shown["drawn"])}, of=_unknown
  )


def _unknown(sums: Mapping[str, Any]) -> float:
  return math.nan


def _summary(
  found: Sequence[records.Record], measures: Sequence[Measure], steps: int | None
) -> dict[str, Any]:
  """The last numbers of a run, and the best of the objective.

  A run that ends by the clock counts as finished: the folder does not say.
  """
  last: dict[str, Any] = {}
  for record in found:
    last |= {name: value for name, value in record.items() if value is not None}
  speeds = {n: round(v) for n, v in last.items() if n.endswith(records.PER_SECOND)}
  done = steps is None or last.get("step", 0) >= steps
  summary = {"steps": last.get("step"), **last, **speeds, "finished": done}
  objective = f"val/{measures[0].name}"
  values = [one[objective] for one in found if one.get(objective) is not None]
  if values:
    choose = min if measures[0].better == "lower" else max
    summary[f"best/{objective}"] = choose(values)
  return summary


def _parameters(path: Path) -> dict[str, tuple[int, ...]]:
  """The shapes of the parameters by name; {} before the first checkpoint."""
  try:
    params = load(path, checkpoint="newest", warn=lambda said: None).params
  except BadInput:
    return {}
  try:
    return names.shapes(params)
  except AttributeError:  # an n-gram model has counts
    return {}


def _shows(path: Path) -> list[str]:
  """The texts and pictures of the folder."""
  files = sorted(file.name for form in PICTURES for file in path.glob(form))
  return [name for name in files if name not in OWN]


def _command(of_run: Page | None, config: Mapping[str, Any]) -> str:
  if of_run is None:
    return f"python -m experiments.{config['experiment']}"
  known, flags = of_run.settings, {}
  for name, value in config["flags"].items():
    if name in known and (read := checked(known[name], value)) not in (
      None,
      known[name].default,
    ):
      flags[name] = read
  return folder.command(Settings.of(of_run).replaced(**flags))


PAGE = Page("report", main, (Report,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
