"""The norm of a gradient by lag, beside one backward pass of the same sequence.

  python -m bench.lags
  python -m bench.lags --cells=gru --steps=1000 --remat=none

Of the loss of the last of T steps: milliseconds and memory of its gradient to the
parameters, with segments computed again as `remat` says, and of the norms of its
gradient at the carries of all steps; in brackets how many times those of the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bench.table import markdown, number
from bench.timing import compiled
from experiments.session import door
from experiments.session.settings import Page, Settings
from unroll import diagnose, memory, remat
from unroll.cells import CELLS
from unroll.layers import Layer, rematerialised
from unroll.settings import setting
from unroll.types import Array, BadInput, Params


@dataclass(frozen=True)
class Measured:
  """Cells and sizes"""

  cells: tuple[str, ...] = setting(("rnn", "gru", "lstm"), "cells")
  steps: int = setting(10_000, "T", least=2)
  hidden: int = setting(128, "D and H", least=1)
  batch: int = setting(8, "B", least=1)
  remat: str = setting("sqrt", "what is computed again, as charlm has it", kind="spec")


def main(settings: Settings) -> None:
  """Prints two lines for each cell."""
  chosen = settings[Measured]
  for name in chosen.cells:
    if name not in CELLS:
      raise BadInput(f"cells={name}: choose of {', '.join(CELLS)}")
  plan = remat.named_plan(chosen.remat)
  print(markdown(["cell", "", "ms", "memory"], []))
  for name in chosen.cells:
    for line in _lines(chosen, name, plan):
      print(f"| {' | '.join(line)} |", flush=True)


def _lines(chosen: Measured, name: str, plan: remat.Plan) -> Iterator[list[str]]:
  cell = CELLS[name](chosen.hidden, chosen.hidden)
  params = cell.init(jax.random.key(0))
  shape = (chosen.steps, chosen.batch, chosen.hidden)
  xs = jax.random.normal(jax.random.key(1), shape)

  def loss(layer: Layer, params: Params, xs: Array) -> Array:
    carry = layer.carry(params, chosen.batch)
    return jnp.sum(jnp.square(layer.unroll(params, carry, xs)[1][-1]))

  def norms(params: Params, xs: Array) -> dict[str, Array]:
    def felt(sinks: Array) -> Array:
      return loss(diagnose.probed_layer(cell, sinks, plan), params, xs)

    return diagnose.norms_by_lag(felt, cell, params, chosen.steps, chosen.batch)

  layer = rematerialised(cell, plan)
  whole = compiled(lambda *at: jax.grad(loss, argnums=1)(layer, *at), params, xs)
  by_lag = compiled(norms, params, xs)
  shown = [
    (number(1e3 * one.seconds), memory.size(one.bytes)) for one in (whole, by_lag)
  ]
  times = f" ({by_lag.seconds / whole.seconds:.2f})"
  room = f" ({by_lag.bytes / whole.bytes:.2f})"
  yield [name, "gradient", *shown[0]]
  yield ["", "norms by lag", shown[1][0] + times, shown[1][1] + room]


PAGE = Page("lags", main, (Measured,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
