"""Haiku: dynamic_unroll of its cells, jitted."""

import haiku as hk
import jax
import jax.numpy as jnp

from bench.libraries import layer as timed
from bench.shapes import Shape
from bench.timing import Timed

CELLS = {"rnn": hk.VanillaRNN, "gru": hk.GRU, "lstm": hk.LSTM}


def layer(shape: Shape) -> Timed:
  """Forward and backward of sum(y²), for parameters and inputs."""
  return timed.backward(_made(shape))


def forward(shape: Shape) -> Timed:
  """Forward alone."""
  return timed.forward(_made(shape))


def _made(shape: Shape) -> timed.Layer:

  def one(xs, reverse=False):
    cell = CELLS[shape.cell](shape.hidden)
    carry = cell.initial_state(shape.batch)
    return hk.dynamic_unroll(cell, xs, carry, reverse=reverse)[0]

  def core(xs):
    for _ in range(shape.layers):
      both = [one(xs), one(xs, reverse=True)] if shape.bidirectional else [one(xs)]
      xs = jnp.concatenate(both, axis=-1)
    return xs

  model = hk.without_apply_rng(hk.transform(core))
  xs = jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))
  params = jax.jit(model.init)(jax.random.key(0), xs)

  return model.apply, params, xs
