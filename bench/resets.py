"""What it costs to start afresh within a sequence: a table."""

from collections.abc import Sequence

from bench.race import Contestant, Row
from bench.table import NONE, OURS, markdown, number

# The share of steps before which a sequence starts afresh; None: no mask of resets.
SHARES = (None, 0.0, 0.01, 0.03, 0.1)


def contestants(devices: int) -> list[Contestant]:
  """A layer with each share of resets."""
  return [Contestant(_name(share), OURS, {"share": share}, devices) for share in SHARES]


def table(rows: Sequence[Row]) -> str:
  """A line for each cell: minima in ms, and in brackets how many of those without."""
  body = []
  for row in rows:
    line, none = [row.shape.size, row.shape.core], row.results[_name(None)]
    for share in SHARES:
      result = row.results[_name(share)]
      if "minimum" not in result:
        line.append(NONE)
      elif share is None:
        line.append(number(1e3 * result["minimum"]))
      else:
        ratio = result["minimum"] / none.get("minimum", float("nan"))
        line.append(f"{number(1e3 * result['minimum'])} ({ratio:.3f})")
    body.append(line)
  return markdown(["B, T, D, H", "cell", *map(_name, SHARES)], body)


def _name(share: float | None) -> str:
  return "no resets, ms" if share is None else f"{share:.0%} of steps"
