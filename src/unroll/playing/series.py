"""What the server of a page answers of a table: how its columns go on."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unroll.data import cache
from unroll.data.series import Series, named, regular, table
from unroll.data.series import calendar as calendars
from unroll.data.series.gaps import filled
from unroll.data.table import read_table
from unroll.loading import Loaded
from unroll.models.built import SERIES
from unroll.models.forecaster import Shape
from unroll.playing.labels import Answer, text_of
from unroll.types import BadInput

WHERE = "the CSV"  # as sentences about what was pasted call it


def forecasting(loaded: Loaded) -> Answer:
  """`{"text": CSV}` -> `{"columns", "csv"}`, the forecast of what follows its last row.

  A column has `past` values, as many as the model looks back on, `ahead [K, Q]`, and
  the first and the last of the `times`.
  """
  flags, quantiles = loaded.config["flags"], loaded.module.quantiles
  window, horizon = _shape(loaded).window, _shape(loaded).horizon

  def answer(given: Mapping[str, Any]) -> dict[str, Any]:
    own = read_series(flags, text_of(given))
    size = len(own.values)
    if size < window:
      raise BadInput(f"{WHERE} has {size} rows, and window={window}: give more")
    past = filled(own.values, own.gaps).before(np.array([size]), window)
    known = None
    if flags.get("calendar"):
      _, known = calendars.features(own.clock, size + horizon)
      known = known[size - window :, None]
    found = loaded.predict(loaded.params, past, known)[:, 0]
    times = [own.stamp(size - window), own.stamp(size + horizon - 1)]
    columns = [
      {
        "name": own.columns[number],
        "past": past[:, 0, number].tolist(),
        "ahead": found[:, number].tolist(),
        "quantiles": list(quantiles),
        "times": times,
      }
      for number in range(own.targets)
    ]
    written = table.forecast_csv(own, size, found, quantiles)
    return {"columns": columns, "csv": written}

  return answer


class Form(NamedTuple):
  """The form of the tables that a run was trained on.

  Attributes:
    time: the column of times; "": there is none.
    targets: the columns to forecast; (): the only one beside the time.
    gaps: how missing values are filled.
    file: the table itself; None where the series is made here.
  """

  time: str
  targets: tuple[str, ...]
  gaps: str
  file: Path | None


def form_of(flags: Mapping[str, Any]) -> Form:
  """The form of the tables of a run, by its settings."""
  targets, gaps = tuple(flags["target"]), flags["gaps"]
  entry = named.SERIES.get(flags["series"])
  if flags["csv"]:
    return Form(flags["time"], targets, gaps or "refuse", Path(flags["csv"]))
  if entry is None:
    return Form("", targets, gaps or "refuse", None)
  file = cache.root() / entry.file.path
  return Form(entry.time, targets or entry.targets, gaps or entry.gaps, file)


def read_series(flags: Mapping[str, Any], text: str) -> Series:
  """A table in the form of those that a run was trained on."""
  form = form_of(flags)
  return regular.series(
    read_table(text.encode("utf-8", "replace"), WHERE),
    targets=form.targets,
    inputs=tuple(flags["inputs"]),
    time=form.time,
    time_format=flags["time_format"],
    gaps=form.gaps,
    warn=lambda said: None,  # of rows out of order, which are sorted
  )


def example(loaded: Loaded) -> str:
  """The end of what a run was trained on as a CSV text; empty where it is not here."""
  flags, shape = loaded.config["flags"], _shape(loaded)
  form = form_of(flags)
  try:
    own = named.sine()
    if form.file:
      own = read_series(flags, form.file.read_text("utf-8-sig"))
  except (BadInput, OSError, UnicodeDecodeError):
    return ""
  size = len(own.values)
  lines = [[*([form.time] if form.time else []), *own.columns]]
  for row in range(max(size - shape.window, 0), size):
    cells = ("" if np.isnan(x) else f"{x:.6g}" for x in own.values[row])
    lines.append([*([own.stamp(row)] if form.time else []), *cells])
  out = io.StringIO(newline="")
  csv.writer(out, lineterminator="\n").writerows(lines)
  return out.getvalue()


def _shape(loaded: Loaded) -> Shape:
  return Shape(**json.loads(loaded.files[SERIES])["shape"])
