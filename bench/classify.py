"""An epoch of a classifier of sentences, by library: a table."""

from collections.abc import Sequence
from typing import Any

from bench.race import Row
from bench.sentences import there
from bench.table import NONE, OURS, markdown, number


def options() -> dict[str, Any]:
  """What every library is built with: the sentences that are there."""
  return {"data": there()}


def table(rows: Sequence[Row]) -> str:
  """A line for each library: seconds of an epoch, and of the first, which compiles."""
  head = ["", "an epoch, s", f"/ {OURS}", "the first, s", "padding", "batches"]
  body = []
  for row in rows:
    ours = row.results[OURS].get("minimum")
    for name, result in row.results.items():
      cells = [name, *[NONE] * 5]
      if (least := result.get("minimum")) is not None:
        cells[1] = f"{number(least)} ({number(result['median'])})"
        cells[2] = NONE if ours is None else f"{least / ours:.2f}"
        cells[3] = number(result["first"])
        cells[4] = f"{result['padding']:.1%}" if "padding" in result else NONE
        cells[5] = result["configuration"]
      body.append(cells)
  return markdown(head, body)
