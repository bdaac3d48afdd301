"""What a start takes: a table of whole starts, and one of their parts."""

from collections.abc import Sequence

from bench.race import Contestant, Row
from bench.table import NONE, markdown, number

OURS, TORCH = "bench.started", "bench.started_torch"
WHOLE = "whole"


def contestants(peers: Sequence[str]) -> list[Contestant]:
  """A start where nothing is compiled, one where all is kept, and PyTorch's."""
  found = [
    Contestant("unroll, cold", "start", {"module": OURS, "cached": False}),
    Contestant("unroll, kept", "start", {"module": OURS, "cached": True}),
  ]
  if "torch" in peers:
    found.append(Contestant("torch", "start", {"module": TORCH, "cached": True}))
  return found


def table(rows: Sequence[Row]) -> str:
  """Seconds of the median start, and of the parts of the last."""
  (row,) = rows
  known = {name: one for name, one in row.results.items() if "median" in one}
  beside = {"seconds", "minimum", "median", "devices", "resident_bytes"}
  parts = dict.fromkeys(k for one in known.values() for k in one if k not in beside)
  body = [[WHOLE, *(number(one["median"]) for one in known.values())]]
  for part in parts:
    cells = [one.get(part) for one in known.values()]
    body.append([part, *(NONE if cell is None else number(cell) for cell in cells)])
  return markdown(["seconds", *known], body)
