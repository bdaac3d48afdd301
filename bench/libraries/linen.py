"""Flax Linen: its RNN around its fastest cells, jitted."""

from typing import Any

import flax.linen as nn
import jax

from bench.libraries import layer as timed
from bench.shapes import Shape
from bench.timing import Timed

CELLS = {"rnn": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


def layer(shape: Shape) -> Timed:
  """Forward and backward of sum(y²), for parameters and inputs."""
  return timed.backward(_made(shape))


def forward(shape: Shape) -> Timed:
  """Forward alone."""
  return timed.forward(_made(shape))


def _made(shape: Shape) -> timed.Layer:
  core = nn.Sequential([_layer(shape) for _ in range(shape.layers)])
  xs = jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))
  params = jax.jit(core.init)(jax.random.key(0), xs)

  return core.apply, params, xs


def _layer(shape: Shape) -> nn.Module:
  cell: Any = CELLS[shape.cell]

  def one() -> nn.Module:
    return nn.RNN(cell(shape.hidden, dtype=shape.dtype), time_major=True)

  return (
    nn.Bidirectional(one(), one(), time_major=True) if shape.bidirectional else one()
  )
