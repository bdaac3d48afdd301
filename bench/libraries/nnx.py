"""Flax NNX: its RNN around its fastest cells, split into state and jitted."""

import jax
from flax import nnx

from bench.libraries import layer as timed
from bench.shapes import Shape
from bench.timing import Timed

CELLS = {"rnn": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}


def layer(shape: Shape) -> Timed:
  """Forward and backward of sum(y²), for parameters and inputs."""
  return timed.backward(_made(shape))


def forward(shape: Shape) -> Timed:
  """Forward alone."""
  return timed.forward(_made(shape))


def _made(shape: Shape) -> timed.Layer:
  inputs = [shape.inputs] + [shape.width] * (shape.layers - 1)
  core = nnx.Sequential(*(_layer(shape, size) for size in inputs))
  graph, params, *rest = nnx.split(core, nnx.Param, ...)
  xs = jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))

  def apply(params, xs):
    return nnx.merge(graph, params, *rest, copy=True)(xs)

  return apply, params, xs


def _layer(shape: Shape, inputs: int) -> nnx.Module:
  def one(seed: int) -> nnx.Module:
    rngs = nnx.Rngs(seed)
    cell = CELLS[shape.cell](inputs, shape.hidden, rngs=rngs)
    return nnx.RNN(cell, time_major=True, rngs=rngs)

  if not shape.bidirectional:
    return one(0)
  return nnx.Bidirectional(one(0), one(1), time_major=True, rngs=nnx.Rngs(2))
