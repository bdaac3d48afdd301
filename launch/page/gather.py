"""What the page of a sweep shows, gathered from the sweep's folder."""

import json
import math
import os
import statistics
import urllib.parse
from pathlib import Path
from typing import Any

from launch.page.curves import curve, read
from launch.plan import REPORT, RUNS, TRIALS, without_password
from unroll.errors import BadInput

ALSO = ("train/loss", "grad_norm")  # curves beside those of the objectives
POINTS = 200  # of a curve, at most
TOTAL = 100_000  # points of all curves together: a few MB
SAMPLES = 6  # trials, the best
TEXT = 3000  # characters of a sample


def gather(sweep: Path, out: Path) -> dict[str, Any]:
  """Reads a sweep's trials and what is there of their runs.

  Args:
    sweep: the folder of a sweep, under way or finished.
    out: where the page will be; links are relative to it.

  Returns:
    Plain JSON, without NaN or infinities.

  Raises:
    BadInput: if the folder is none, or its list of trials is damaged.
  """
  listed = _listed(sweep)
  objectives = [str(name) for name in listed.get("objective") or ["objective"]]
  directions = (listed.get("directions") or []) + ["minimize"] * len(objectives)
  trials = [_trial(trial, objectives, sweep, out) for trial in listed["trials"]]
  ranked = [
    t for t in trials if t["state"] == "complete" and t["values"][0] is not None
  ]
  sign = 1 if directions[0] == "minimize" else -1
  ranked.sort(key=lambda trial: sign * trial["values"][0])
  return _plain(
    {
      "experiment": listed.get("experiment", ""),
      "objectives": objectives,
      "directions": directions[: len(objectives)],
      "flags": listed.get("flags") or {},
      "search": listed.get("search", ""),
      "command": without_password(str(listed.get("command", ""))),
      "finished": bool(listed.get("finished")),
      "names": list(
        dict.fromkeys(name for trial in trials for name in trial["params"])
      ),
      "trials": [{k: v for k, v in t.items() if k != "folders"} for t in trials],
      "curves": _curves(trials, objectives),
      "importance": listed.get("importance") or {},
      "basis": str(listed.get("importance_basis") or ""),
      "chosen": listed.get("chosen") or None,
      "samples": _samples(ranked),
    }
  )


def _listed(sweep: Path) -> dict[str, Any]:
  path = sweep / TRIALS
  if not sweep.is_dir():
    raise BadInput(f"{sweep} is no folder: give the folder of a sweep")
  try:
    listed = json.loads(path.read_text("utf-8"))
  except FileNotFoundError:
    if (sweep / "config.json").exists():
      page = sweep / REPORT
      raise BadInput(
        f"{sweep} is a single run: training wrote its page, {page}"
      ) from None
    raise BadInput(
      f"{sweep} holds no {TRIALS}: give the folder of a sweep that has been started"
    ) from None
  except ValueError as error:
    raise BadInput(
      f"{path} is not JSON ({error}): the sweep's own command writes it anew"
    ) from None
  match listed:
    case {"trials": [*trials]} if all(
      isinstance(t, dict) and isinstance(t.get("slot"), int) for t in trials
    ):
      return listed
  raise BadInput(
    f"{path} is not a list of trials: the sweep's own command writes it anew"
  )


def _trial(
  trial: dict[str, Any], objectives: list[str], sweep: Path, out: Path
) -> dict[str, Any]:
  """A trial as the page has it: what its runs have in common, and their links."""
  # Of a trial at work, nothing is listed yet but its folders are there.
  runs = trial.get("runs") or _begun(sweep, trial["slot"])
  summaries = [run["summary"] for run in runs if run.get("summary")]
  folders = [sweep / run["workdir"] for run in runs if run.get("workdir")]
  values = (trial.get("values") or []) + [None] * len(objectives)
  values = values[: len(objectives)]
  return {
    "slot": trial["slot"],
    "state": trial.get("state", "waiting"),
    "attempts": trial.get("attempts"),
    "params": {name: _flat(x) for name, x in (trial.get("params") or {}).items()},
    "values": values,
    "deviations": [_deviation(*pair, summaries) for pair in zip(objectives, values)],
    "seconds": trial.get("seconds"),
    "parameters": _mean(summaries, "parameters"),
    "speed": _mean(summaries, "tokens_per_second"),
    "error": trial.get("error"),
    "seeds": len(runs),
    "folders": folders,
    "pages": [
      {"seed": run.get("seed"), "href": _link(folder / REPORT, out)}
      for run, folder in zip(runs, folders)
      if (folder / REPORT).is_file()
    ],
  }


def _begun(sweep: Path, slot: int) -> list[dict[str, Any]]:
  return [
    {"seed": int(path.name.partition("-seed")[2]), "workdir": f"{RUNS}/{path.name}"}
    for path in sorted((sweep / RUNS).glob(f"{slot:04}-seed*"))
    if path.name.partition("-seed")[2].isdecimal()
  ]


def _deviation(name: str, value: float | None, summaries: list[dict]) -> float | None:
  """Standard deviation over seeds of what the value is the mean of.

  A summary has the last evaluation under its name and the best one under "best/"; the
  one whose mean is nearer to the value is the one that was optimised.
  """
  if value is None:
    return None
  found = [_column(summaries, key) for key in (name, f"best/{name}")]
  found = [seeds for seeds in found if len(seeds) > 1]
  if not found:
    return None
  return statistics.stdev(min(found, key=lambda s: abs(statistics.fmean(s) - value)))


def _column(summaries: list[dict], name: str) -> list[float]:
  values = [summary.get(name) for summary in summaries]
  return [x for x in values if isinstance(x, int | float) and math.isfinite(x)]


def _mean(summaries: list[dict], name: str) -> float | None:
  values = _column(summaries, name)
  return round(statistics.fmean(values)) if values else None


def _curves(trials: list[dict[str, Any]], objectives: list[str]) -> dict[str, Any]:
  """Metric -> slot -> columns, thinner the more trials there are."""
  names = list(dict.fromkeys([n.removeprefix("best/") for n in objectives] + [*ALSO]))
  points = TOTAL // (len(names) * max(len(trials), 1))
  points = min(POINTS, max(points, 30))
  curves: dict[str, dict[int, list]] = {name: {} for name in names}
  for trial in trials:
    runs = [read(folder / "metrics.jsonl") for folder in trial["folders"]]
    for name in names:
      # What is logged at every step is noisy: twice as many steps to a point.
      if columns := curve(runs, name, points // 2 if name in ALSO else points):
        curves[name][trial["slot"]] = columns
  return {name: found for name, found in curves.items() if found}


def _samples(ranked: list[dict[str, Any]]) -> list[dict[str, Any]]:
  samples: list[dict[str, Any]] = []
  for trial in ranked:
    for folder in trial["folders"]:
      try:
        text = (folder / "sample.txt").read_text("utf-8", errors="replace")
      except OSError:
        continue
      cut = text[:TEXT] + (" …" if len(text) > TEXT else "")
      samples.append({"slot": trial["slot"], "text": cut})
      break
    if len(samples) == SAMPLES:
      break
  return samples


def _link(path: Path, out: Path) -> str:
  relative = os.path.relpath(path.resolve(), out.resolve().parent)
  return urllib.parse.quote(Path(relative).as_posix())


def _flat(value: Any) -> Any:
  """A flag's value as one cell of a table."""
  return ",".join(map(str, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
  """JSON as browsers read it: no NaN, no infinity."""
  if isinstance(value, dict):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, list):
    return [_plain(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
