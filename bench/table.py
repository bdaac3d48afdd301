"""A run as a table, to be pasted into `docs/benchmarks.md`."""

from collections.abc import Iterable, Sequence

from bench.race import Row
from bench.suites import Suite
from bench.timing import geometric_mean

MACHINE, OURS = "machine", "unroll"
NONE = "-"


def table(suite: Suite, rows: Sequence[Row]) -> str:
  """The rows of a suite in Markdown: minimum (median) of each contestant, ratios.

  A ratio above 1 says how many times as long as ours the other's minimum is, which of
  rates is ours over theirs.
  """
  measured = dict.fromkeys(name for row in rows for name in row.results)
  names = [name for name in measured if name != MACHINE]
  rivals = [name for name in names if name != OURS and suite.peers]
  limit = suite.limit
  head = ["B, T, D, H", "cell", *(f"{name}, {suite.unit}" for name in names)]
  if limit:
    head += [limit.unit, "of the machine's"]
  rates = suite.unit.endswith("/s")
  head += [f"{OURS} / {name}" if rates else f"{name} / {OURS}" for name in rivals]
  body = []
  for row in rows:
    cells = [row.shape.size, row.shape.core]
    cells += [_figures(suite, row, name) for name in names]
    if limit:
      cells += _share(suite, row, rows)
    body.append(cells + [_over(min, [_ratio(row, name)]) for name in rivals])
  if rivals and len(rows) > 1:
    ratios = [[_ratio(row, name) for row in rows] for name in rivals]
    blank = [""] * (len(head) - len(rivals) - 1)
    for title, over in (("geometric mean", geometric_mean), ("least", min)):
      body.append([title, *blank, *(_over(over, each) for each in ratios)])
  return markdown(head, body)


def ceiling(suite: Suite, rows: Iterable[Row]) -> float | None:
  """The highest rate that the machine reached in the run, in units of the limit."""
  rates = [1 / seconds for row in rows if (seconds := _minimum(row, MACHINE))]
  return max(rates, default=None) if suite.limit else None


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
  """A table in Markdown; numbers to the right of the first two columns."""
  rule = ["---"] * len(head)
  return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def number(x: float) -> str:
  """Three digits, or all before the point."""
  return f"{x:,.0f}" if x >= 100 else f"{x:#.3g}"


def _figures(suite: Suite, row: Row, name: str) -> str:
  result = row.results.get(name, {})
  if "minimum" not in result:
    return NONE
  best, middle = (
    number(suite.figure(row.shape, result[each])) for each in ("minimum", "median")
  )
  return f"{best} ({middle})"


def _share(suite: Suite, row: Row, rows: Sequence[Row]) -> list[str]:
  """Our rate, and what part of the machine's it is."""
  assert suite.limit
  seconds = _minimum(row, OURS)
  most = ceiling(suite, rows if suite.limit.of_run else [row])
  if seconds is None:
    return [NONE, NONE]
  rate = suite.limit.work(row.shape) / seconds
  return [number(rate), NONE if most is None else f"{rate / most:.0%}"]


def _ratio(row: Row, name: str) -> float | None:
  ours, theirs = _minimum(row, OURS), _minimum(row, name)
  return None if ours is None or theirs is None else theirs / ours


def _minimum(row: Row, name: str) -> float | None:
  return row.results.get(name, {}).get("minimum")


def _over(summarise, ratios: Iterable[float | None]) -> str:
  known = [ratio for ratio in ratios if ratio is not None]
  return f"{summarise(known):.2f}" if known else NONE
