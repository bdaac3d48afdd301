"""Nonlinear cells without a loop through time: iterations of Newton's method, and time.

  python -m bench.newton
  python -m bench.newton --times --hidden=1,2,4,8,16,64 --lengths=100,1000,10000

The first counts the iterations that one sequence takes, by T, cell and spectral radius
of its recurrent matrix: of a full Jacobian / of its diagonal. The second has
milliseconds of forward and backward of sum(y²), and in brackets how many loops that is.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.table import NONE, markdown, number
from bench.timing import Timed, repeated
from experiments.session import door
from experiments.session.settings import Page, Settings
from unroll import scan
from unroll.cells import CELLS
from unroll.newton import Newton, named_evaluation
from unroll.settings import setting
from unroll.types import Array, BadInput, Cell, Params

FEATURES = 4
# Column -> how the states are found, and the backward pass.
WAYS: dict[str, tuple[Newton | None, scan.Backward]] = {
  "loop": (None, "fast"),
  "gradient as a tree": (None, "parallel"),
  "newton": (named_evaluation("newton"), "fast"),
  "quasi_newton": (named_evaluation("quasi_newton"), "fast"),
}


@dataclass(frozen=True)
class Measured:
  """Cells and sizes"""

  times: bool = setting(False, "measures the time in place of counting iterations")
  cells: tuple[str, ...] = setting(
    ("rnn@0.5", "rnn@0.9", "rnn@1.5", "rnn@3", "gru", "gru@3", "lstm", "lstm@3"),
    "cells; a spectral radius, of the matrix of each gate, may follow an @",
  )
  lengths: tuple[int, ...] = setting((10, 100, 1000, 10_000), "T", least=2)
  hidden: tuple[int, ...] = setting((16,), "H; a table for each", least=1)
  batch: int = setting(1, "B", least=1)


def main(settings: Settings) -> None:
  """Prints a table for each H, or for each cell its times, line by line."""
  chosen = settings[Measured]
  for name in chosen.cells:
    _cell(name, 1)  # a wrong one is better known now
  if chosen.times:
    for name in chosen.cells:
      _show(name, ["H", "T", "loop, ms", *list(WAYS)[1:]], _times(chosen, name))
    return
  head = ["cell", *(f"T = {length:,}" for length in chosen.lengths)]
  for hidden in chosen.hidden:
    _show(f"H = {hidden}", head, _iterations(chosen, hidden))


def _show(title: str, head: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
  print(f"\n{title}\n\n{markdown(head, [])}")
  for line in lines:
    print(f"| {' | '.join(line)} |", flush=True)


def _cell(name: str, hidden: int) -> tuple[Cell, Params]:
  """A cell and its parameters as they start, of a spectral radius if it has one.

  Raises:
    BadInput: no such cell, or one without a loop of steps.
  """
  spec, _, radius = name.partition("@")
  if spec not in CELLS:
    raise BadInput(f"cells={name}: choose of {', '.join(CELLS)}")
  cell = CELLS[spec](FEATURES, hidden)
  if cell.linear or cell.chunk:
    raise BadInput(f"cells={name}: {spec} needs no loop of steps: drop it")
  params = cell.init(jax.random.key(0))
  if not radius:
    return cell, params
  try:
    w_h = np.asarray(params.w_h)
    return cell, params._replace(w_h=jnp.asarray(_scaled(w_h, float(radius))))
  except (AttributeError, ValueError):
    raise BadInput(
      f"cells={name}: give a number after the @, and a cell with one matrix w_h"
    ) from None


def _scaled(w_h: np.ndarray, radius: float) -> np.ndarray:
  """Random matrices of that radius side by side, in the place of `w_h [H, G H]`."""
  hidden, width = w_h.shape
  draw = np.random.default_rng(0)
  gates = []
  for _ in range(width // hidden):
    gate = draw.normal(size=(hidden, hidden))
    gates.append(radius * gate / np.max(np.abs(np.linalg.eigvals(gate))))
  return np.concatenate(gates, axis=1).astype(w_h.dtype)


def _inputs(chosen: Measured, length: int) -> Array:
  return jax.random.normal(jax.random.key(1), (length, chosen.batch, FEATURES))


def _iterations(chosen: Measured, hidden: int) -> Iterator[list[str]]:
  """A line a cell: iterations at each T, full / diagonal."""
  for name in chosen.cells:
    cell, params = _cell(name, hidden)
    line = [name]
    for length in chosen.lengths:
      xs = _inputs(chosen, length)
      counts = [
        _count(cell, WAYS[n][0], params, xs) for n in ("newton", "quasi_newton")
      ]
      line.append(" / ".join(counts))
    yield line


def _count(cell: Cell, way: Newton | None, params: Params, xs: Array) -> str:
  """The iterations of a scan; a dash where a loop took over."""
  asking = cell._replace(newton=way)
  run = jax.jit(
    lambda params, xs: scan.unroll(
      asking, params, asking.carry(params, xs.shape[1]), xs
    )[1]
  )
  with scan.reports() as reports:
    jax.block_until_ready(run(params, xs))
  [report] = reports
  return str(report.iterations) if report.converged else NONE


def _times(chosen: Measured, name: str) -> Iterator[list[str]]:
  """A line for each H and T."""
  for hidden, length in itertools.product(chosen.hidden, chosen.lengths):
    cell, params = _cell(name, hidden)
    xs = _inputs(chosen, length)
    loop, *others = (_seconds(cell, *way, params, xs) for way in WAYS.values())
    ratios = [f"{number(1e3 * other)} ({other / loop:#.3g})" for other in others]
    yield [str(hidden), f"{length:,}", number(1e3 * loop), *ratios]


def _seconds(cell: Cell, way: Newton | None, backward: Any, params, xs) -> float:
  """The least time of forward and backward."""
  asking = cell._replace(newton=way)

  def loss(params, xs):
    start = asking.carry(params, xs.shape[1])
    return jnp.sum(scan.unroll(asking, params, start, xs, backward=backward)[1] ** 2)

  gradient = jax.jit(jax.grad(loss, (0, 1)))
  timed = Timed(lambda: jax.block_until_ready(gradient(params, xs)))
  timed.call()
  return min(repeated(timed))


PAGE = Page("newton", main, (Measured,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
