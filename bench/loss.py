"""Time and memory against V, with all logits at once and in slices: a table."""

from collections.abc import Sequence

from bench.race import Contestant, Row
from bench.table import NONE, OURS, markdown, number
from bench.timing import summary
from unroll.memory import size

# What is measured of each, and both ways of it; the first is left to autodiff.
PARTS = {"layer": "output layer", "step": "training step"}
WAYS = ("at once", "sliced")


def contestants(devices: int) -> list[Contestant]:
  """Each part, each way."""
  return [
    Contestant(
      f"{part}, {way}", OURS, {"part": part, "sliced": way == "sliced"}, devices
    )
    for part in PARTS
    for way in WAYS
  ]


def table(rows: Sequence[Row]) -> str:
  """A line for each V and part: minima (medians), and what XLA needs at its peak."""
  head = ["V", "", *(f"{way}, ms" for way in WAYS), "at once / sliced"]
  head += [f"{way}, peak" for way in WAYS]
  body = []
  for row in rows:
    for part, title in PARTS.items():
      each = [row.results[f"{part}, {way}"] for way in WAYS]
      least = [result["minimum"] for result in each if "minimum" in result]
      ratio = f"{least[0] / least[1]:.2f}" if len(least) == len(WAYS) else NONE
      peaks = [size(r["needed_bytes"]) if "minimum" in r else NONE for r in each]
      body.append(
        [f"{row.shape.vocabulary:,}", title, *map(_time, each), ratio, *peaks]
      )
  return markdown(head, body)


def _time(result) -> str:
  if "minimum" not in result:
    return NONE
  least, median = summary(result["seconds"])
  return f"{number(1e3 * least)} ({number(1e3 * median)})"
