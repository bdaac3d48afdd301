"""Keras on JAX (KERAS_BACKEND=jax): its layers, jitted; batch-major, as they are."""

import jax
import keras
import numpy as np

from bench.libraries import layer as timed
from bench.sentences import CLASSES, Sentences, sentences, shuffled, windowed
from bench.shapes import Shape
from bench.timing import Timed, begun, fastest

LAYERS = {
  "rnn": keras.layers.SimpleRNN,
  "gru": keras.layers.GRU,
  "lstm": keras.layers.LSTM,
}
EDGE = 4  # lengths are padded to a multiple of it


def layer(shape: Shape) -> Timed:
  """Forward and backward of sum(y²), for parameters and inputs."""
  return timed.backward(_made(shape))


def forward(shape: Shape) -> Timed:
  """Forward alone."""
  return timed.forward(_made(shape))


def _made(shape: Shape) -> timed.Layer:
  core = keras.Sequential([_layer(shape) for _ in range(shape.layers)])
  xs = jax.random.normal(jax.random.key(1), (shape.batch, shape.steps, shape.inputs))
  core.build(xs.shape)
  params, rest = (
    [variable.value for variable in variables]
    for variables in (core.trainable_variables, core.non_trainable_variables)
  )

  def apply(params, xs):
    return core.stateless_call(params, rest, xs)[0]

  return apply, params, xs


def _layer(shape: Shape, sequences: bool = True) -> keras.Layer:
  each = LAYERS[shape.cell](shape.hidden, return_sequences=sequences, unroll=False)
  return keras.layers.Bidirectional(each) if shape.bidirectional else each


def classify(shape: Shape, data: str = "") -> Timed:
  """An epoch of a classifier of sentences, by `fit`: the faster of two orders."""
  given = sentences(shape, data)
  orders = {"shuffled": shuffled, "sorted in windows": windowed}
  return fastest(
    {
      name: begun(_fitting(shape, given, list(order(given, shape.batch))))
      for name, order in orders.items()
    }
  )


def _fitting(shape: Shape, given: Sentences, rows: list) -> Timed:
  """Batches padded to a multiple of `EDGE` steps, a program for each length."""
  batches = _Batches(given, rows)
  model = keras.Sequential(
    [
      keras.layers.Embedding(given.vocabulary + 1, shape.inputs, mask_zero=True),
      *(_layer(shape) for _ in range(shape.layers - 1)),
      _layer(shape, sequences=False),
      keras.layers.Dense(CLASSES),
    ]
  )
  model.compile(
    optimizer=keras.optimizers.Adam(2e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    jit_compile=True,
  )

  def call():
    model.fit(batches, shuffle=False, verbose=0)
    # It gives back what the last step has made, which may not be there yet.
    jax.block_until_ready([variable.value for variable in model.variables])

  padded = sum(batches[i][0].size for i in range(len(batches)))
  return Timed(call, note={"padding": 1 - sum(map(len, given.tokens)) / padded})


class _Batches(keras.utils.PyDataset):
  """Tokens `[B, T]`, from 1 as 0 is masked, and labels `[B]`."""

  def __init__(self, given: Sentences, rows: list):
    super().__init__()
    self.given, self.rows = given, rows

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
    rows = self.rows[number]
    longest = max(len(self.given.tokens[row]) for row in rows)
    tokens = np.zeros((len(rows), -(-longest // EDGE) * EDGE), np.int32)
    for place, row in enumerate(rows):
      text = self.given.tokens[row]
      tokens[place, : len(text)] = text + 1
    return tokens, self.given.labels[rows]
