"""The scan of this library by itself: a cell, a reservoir, a linear recurrence."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from bench.libraries import scan as plain
from bench.libraries.recurrence import timed
from bench.shapes import Shape
from bench.timing import Timed
from unroll import scan
from unroll.cells import CELLS
from unroll.devices import Spread
from unroll.scan.recurrence import recurrence as linear_states
from unroll.types import Evaluation


def cells(shape: Shape) -> Timed:
  """Forward and backward of sum(y²) of a cell, for parameters and inputs."""
  return plain.cells(shape, scan.unroll)


def reservoir(shape: Shape) -> Timed:
  """The states of a reservoir, for every series from its start."""
  cell, spread = (
    CELLS[shape.cell](shape.inputs, shape.hidden),
    Spread(jax.device_count()),
  )
  params = jax.device_put(jax.jit(cell.init)(jax.random.key(0)), spread.whole)
  xs = jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))
  xs = jax.device_put(xs, spread.rows(xs, axis=1))

  @jax.jit
  def states(params, xs):
    return scan.unroll(cell, params, cell.carry(params, shape.batch), xs)[1]

  return Timed(lambda: jax.block_until_ready(states(params, xs)))


def resets(shape: Shape, share: float | None) -> Timed:
  """A cell's forward and backward, where a share of the steps starts afresh."""
  drawn = jax.random.uniform(jax.random.key(2), (shape.steps, shape.batch))
  spread = Spread(jax.device_count())
  reset = None
  if share is not None:
    reset = jax.device_put(drawn < share, spread.rows(drawn, axis=1))
  return plain.cells(shape, functools.partial(scan.unroll, reset=reset))


def recurrence(shape: Shape, evaluation: Evaluation = "auto") -> Timed:
  """Forward and backward of a linear recurrence."""

  def states(a: jax.Array, b: jax.Array) -> jax.Array:
    options: Any = {"reverse": False, "evaluation": evaluation}
    return linear_states(a, b, jnp.zeros_like(b[0]), **options)[0]

  return timed(shape, states)
