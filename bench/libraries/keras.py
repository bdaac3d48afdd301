"""Keras on JAX (KERAS_BACKEND=jax): its layers, jitted; batch-major, as they are."""

import jax
import jax.numpy as jnp
import keras

from bench.shapes import Shape
from bench.timing import Timed

LAYERS = {
  "rnn": keras.layers.SimpleRNN,
  "gru": keras.layers.GRU,
  "lstm": keras.layers.LSTM,
}


def layer(shape: Shape) -> Timed:
  """Forward and backward of sum(y²), for parameters and inputs."""

  def one() -> keras.Layer:
    each = LAYERS[shape.cell](shape.hidden, return_sequences=True, unroll=False)
    return keras.layers.Bidirectional(each) if shape.bidirectional else each

  core = keras.Sequential([one() for _ in range(shape.layers)])
  xs = jax.random.normal(jax.random.key(1), (shape.batch, shape.steps, shape.inputs))
  core.build(xs.shape)
  params, rest = (
    [variable.value for variable in variables]
    for variables in (core.trainable_variables, core.non_trainable_variables)
  )

  def loss(params, xs):
    ys, _ = core.stateless_call(params, rest, xs)
    return jnp.sum(ys * ys)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
  return Timed(lambda: jax.block_until_ready(gradient(params, xs)))
