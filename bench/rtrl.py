"""RTRL of layers whose units read no other, beside backpropagation through all steps.

  python -m bench.rtrl
  python -m bench.rtrl --cells=min_gru --batch=1 --steps=20000

Milliseconds of the gradient of the mean of y² over T steps: by backpropagation at once,
and by `rtrl_diagonal:K`, and in brackets how many times as long that is; the memory of
both; and how far the gradients are apart, of the largest number of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from bench.table import markdown, number
from bench.timing import compiled
from experiments.session import door
from experiments.session.settings import Page, Settings
from unroll import memory, scan
from unroll.cells import CELLS
from unroll.gradients.online import rtrl_diagonal
from unroll.settings import setting
from unroll.types import Array, BadInput, Cell, Params


@dataclass(frozen=True)
class Measured:
  """Cells and sizes"""

  cells: tuple[str, ...] = setting(("lru", "indrnn", "min_gru"), "cells")
  chunks: tuple[int, ...] = setting((10, 20, 50, 100), "K", least=1)
  steps: int = setting(2000, "T, a multiple of each K", least=1)
  hidden: int = setting(128, "D and H", least=1)
  batch: int = setting(16, "B", least=1)


def main(settings: Settings) -> None:
  """Prints a line for each cell and K."""
  chosen = settings[Measured]
  for name in chosen.cells:
    if name not in CELLS:
      raise BadInput(f"cells={name}: choose of {', '.join(CELLS)}")
  for k in chosen.chunks:
    if chosen.steps % k:
      raise BadInput(f"chunks={k}: give numbers that divide steps={chosen.steps}")
  head = ["cell", "K", "ms", "memory", "apart"]
  print(markdown(head, []))
  for name in chosen.cells:
    for line in _lines(chosen, name):
      print(f"| {' | '.join(line)} |", flush=True)


def _lines(chosen: Measured, name: str) -> Iterator[list[str]]:
  cell = CELLS[name](chosen.hidden, chosen.hidden)
  params = cell.init(jax.random.key(0))
  shape = (chosen.steps, chosen.batch, chosen.hidden)
  xs = jax.random.normal(jax.random.key(1), shape)
  whole = compiled(lambda params, xs: _gradient(cell, params, xs, 1), params, xs)
  yield [name, "all", number(1e3 * whole.seconds), memory.size(whole.bytes), ""]
  for k in chosen.chunks:
    online = rtrl_diagonal(k).cell
    assert online
    followed, count = online(cell), chosen.steps // k
    found = compiled(
      lambda params, xs, cell=followed, count=count: _gradient(cell, params, xs, count),
      params,
      xs,
    )
    ratio = f"{number(1e3 * found.seconds)} ({found.seconds / whole.seconds:.2f})"
    apart = f"{_apart(found.result, whole.result):.0e}"
    yield [name, str(k), ratio, memory.size(found.bytes), apart]


def _gradient(cell: Cell, params: Params, xs: Array, count: int) -> Params:
  """Of the mean of y², in so many chunks."""

  def loss(params: Params, carry: Any, xs: Array):
    carry, ys = scan.unroll(cell, params, carry, xs)
    return jnp.sum(ys * ys), carry

  chunks = xs.reshape(count, -1, *xs.shape[1:])

  def chunk(i, state):
    carry, total = state
    grads, carry = jax.grad(loss, has_aux=True)(params, carry, chunks[i])
    return carry, jax.tree.map(jnp.add, total, grads)

  start = (cell.carry(params, xs.shape[1]), jax.tree.map(jnp.zeros_like, params))
  _, total = jax.lax.fori_loop(0, count, chunk, start)
  size = xs.shape[0] * xs.shape[1] * _width(cell, params, xs)
  return jax.tree.map(lambda leaf: leaf / jnp.float32(size), total)


def _width(cell: Cell, params: Params, xs: Array) -> int:
  """The numbers of an output."""
  shape = jax.eval_shape(
    lambda: scan.unroll(cell, params, cell.carry(params, 1), xs[:1, :1])[1]
  )
  return shape.size


def _apart(found: Params, exact: Params) -> float:
  """The largest difference, of the largest number of the same parameter."""
  return max(
    float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact))
    if jnp.any(b != 0)
  )


PAGE = Page("rtrl", main, (Measured,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
