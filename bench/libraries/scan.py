"""A plain `jax.lax.scan` under autodiff: what anyone writes first."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bench.libraries.recurrence import timed
from bench.shapes import Shape
from bench.timing import Timed
from unroll.cells import CELLS
from unroll.devices import Spread
from unroll.types import Cell

Unroll = Callable[[Cell, Any, Any, jax.Array], tuple[Any, jax.Array]]


def _plain(cell: Cell, params: Any, carry: Any, xs: jax.Array):
  params = cell.prepare(params)
  zs = cell.project(params, xs)
  return jax.lax.scan(lambda carry, z: cell.step(params, carry, z), carry, zs)


def cells(shape: Shape, unroll: Unroll = _plain) -> Timed:
  """Forward and backward of sum(y²) of a cell, for parameters and inputs.

  Args:
    shape: of the layer.
    unroll: runs a cell over a sequence.
  """
  cell, spread = (
    CELLS[shape.cell](shape.inputs, shape.hidden),
    Spread(jax.device_count()),
  )
  params = jax.device_put(jax.jit(cell.init)(jax.random.key(0)), spread.whole)
  xs = jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))
  xs = jax.device_put(xs, spread.rows(xs, axis=1))

  def loss(params: Any, xs: jax.Array) -> jax.Array:
    _, ys = unroll(cell, params, cell.carry(params, shape.batch), xs)
    return jnp.sum(ys * ys)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
  return Timed(lambda: jax.block_until_ready(gradient(params, xs)))


def _states(a: jax.Array, b: jax.Array) -> jax.Array:
  def step(state: jax.Array, row: tuple) -> tuple[jax.Array, jax.Array]:
    state = row[0] * state + row[1]
    return state, state

  return jax.lax.scan(step, jnp.zeros_like(b[0]), (a, b))[1]


def recurrence(shape: Shape) -> Timed:
  """Forward and backward of a linear recurrence."""
  return timed(shape, _states)
