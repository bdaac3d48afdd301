"""A trial by the layers of Keras on JAX, which load the arrays from a file."""

import os
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from unroll.convert import files, stacks
from unroll.convert.parity import Measured, Named, Trial, by_jax
from unroll.convert.stacks import Stack
from unroll.convert.tables.keras import KERAS

if keras.backend.backend() != "jax":
  raise ImportError("gradients are taken by JAX")


def run(arrays: Named, stack: Stack, given: Trial) -> Measured:
  """A trial by Keras."""
  inputs = keras.Input((None, stack.inputs))
  model = keras.Sequential([inputs, *(_layer(stack, w) for w in stack.hidden)])
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "a.weights.h5")
    files.write(path, arrays)
    model.load_weights(path)
  for layer in model.layers:
    for one in (layer, *(getattr(layer, f"{side}_layer", layer) for side in _SIDES)):
      one.return_state = True

  def forward(arrays, xs):
    xs, states = jnp.swapaxes(xs, 0, 1), []
    for number, layer in enumerate(model.layers):
      called = [stacks.called(KERAS, stack, number, i) for i in range(stack.directions)]
      own = [arrays[name.format(f"vars/{i}")] for name in called for i in range(3)]
      rest = [variable.value for variable in layer.non_trainable_variables]
      mask = jnp.asarray(given.valid.T)
      (xs, *found), _ = layer.stateless_call(own, rest, xs, mask=mask)
      if stack.cell == "lstm":  # h, c of each direction
        found = [found[i ^ 1] for i in range(len(found))]
      states += found
    return jnp.swapaxes(xs, 0, 1), states

  return by_jax(forward, arrays, given)


_SIDES = ("forward", "backward")


def _layer(stack: Stack, width: int) -> Any:
  more: dict[str, Any] = {"return_sequences": True}
  if stack.cell == "lstm":
    one = keras.layers.LSTM(width, **more)
  elif "gru" in stack.cell:
    one = keras.layers.GRU(width, reset_after=stack.cell == "gru", **more)
  else:
    activation = {"rnn": "tanh", "linear_rnn": "linear"}.get(stack.cell, "relu")
    one = keras.layers.SimpleRNN(width, activation=activation, **more)
  return keras.layers.Bidirectional(one) if stack.directions == 2 else one
