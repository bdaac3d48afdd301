"""A row for each cell: how it is made, what one step is in NumPy, and its path.

To add a cell to the laws is to add a row. Those of the registry stand first; then cells
that do what none of the registry does, as small as can be.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unroll import linear
from unroll.cells import CELLS as REGISTRY
from unroll.cells import conv_gru, conv_lstm
from unroll.linear import bias_gradient, weight_gradient
from unroll.parameters import Frozen
from unroll.types import Array, Cell, Derivative

D, H = 3, 4


class Row(NamedTuple):
  """A cell and what is known of it.

  Attributes:
    make: makes the cell; takes the options of its constructor.
    path: the name of the scan's path for it.
    equation: `(params, carry, x [B, …]) -> (leaves of the carry, y)`: one step in
      NumPy, as the papers write it.
    gates: how many stand side by side in each matrix of a dense cell; None of others.
    shape: of an input.
  """

  make: Callable[..., Cell]
  path: str
  equation: Callable[[Any, Any, np.ndarray], tuple[tuple, np.ndarray]]
  gates: int | None = None
  shape: tuple[int, ...] = (D,)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def blocks(array, count: int) -> list[np.ndarray]:
  return np.split(np.asarray(array), count, axis=-1)


# The registry.


def vanilla(activation, params, carry, x):
  h = activation(x @ params.w_x + carry.h @ params.w_h + params.b)
  return (h,), h


def lstm(params, carry, x):
  w, u, b = (blocks(leaf, 4) for leaf in params)
  i, f, g, o = (x @ w[k] + carry.h @ u[k] + b[k] for k in range(4))
  c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
  h = sigmoid(o) * np.tanh(c)
  return (c, h), h


def gru(params, carry, x):
  w, u, b = (blocks(leaf, 3) for leaf in (params.w_x, params.w_h, params.b))
  r, z = (sigmoid(x @ w[k] + carry.h @ u[k] + b[k]) for k in range(2))
  n = np.tanh(x @ w[2] + b[2] + r * (carry.h @ u[2] + params.b_n))
  h = (1 - z) * n + z * carry.h
  return (h,), h


def gru_reset_before(params, carry, x):
  w, b, u = blocks(params.w_x, 3), blocks(params.b, 3), blocks(params.w_rz, 2)
  r, z = (sigmoid(x @ w[k] + carry.h @ u[k] + b[k]) for k in range(2))
  n = np.tanh(x @ w[2] + b[2] + (r * carry.h) @ params.w_n)
  h = (1 - z) * n + z * carry.h
  return (h,), h


def relu(x):
  return np.maximum(x, 0)


def registered(name: str, equation, gates: int) -> Row:
  return Row(partial(REGISTRY[name], D, H), "derived", equation, gates)


# Cells of the tests.


class ProjectedParams(NamedTuple):
  w_x: Array
  w_h: Array
  b: Array
  w_y: Array


class Hidden(NamedTuple):
  h: Array


def projected(input_size: int = D, hidden_size: int = H, output_size: int = 5) -> Cell:
  """h = tanh(x W + h U + b), y = h P: its output is no array of its carry."""

  def init(key):
    keys = jax.random.split(key, 3)
    shapes = (
      (input_size, hidden_size),
      (hidden_size, hidden_size),
      (hidden_size, output_size),
    )
    w_x, w_h, w_y = (drawn(k, *shape) for k, shape in zip(keys, shapes))
    return ProjectedParams(w_x, w_h, jnp.zeros(hidden_size), w_y)

  def forward(params, carry, z):
    h = jnp.tanh(linear.add_bias(z, params.b) + carry.h @ params.w_h)
    y = h @ params.w_y
    return Hidden(h), y, (h, h, y)

  def backward(transposed, saved, before, after, d_after, d_y):
    h, _, _ = saved
    d_h = d_after.h + d_y @ transposed.w_y
    d_z = d_h * (1 - h * h)
    # h stays: it is the left factor of the gradient of w_y.
    return Hidden(d_z @ transposed.w_h), (d_z, h, d_y)

  def weights(params, before, d_saved):
    d_z, h, d_y = d_saved
    return jax.tree.map(jnp.zeros_like, params)._replace(
      w_h=weight_gradient(before.h, d_z, params.w_h.dtype),
      b=bias_gradient(d_z, params.b.dtype),
      w_y=weight_gradient(h, d_y, params.w_y.dtype),
    )

  derivative = Derivative(forward, backward, weights)
  return Cell(init, hidden(hidden_size), multiplied, derivative.step, derivative)


def projected_equation(params, carry, x):
  h = np.tanh(x @ params.w_x + carry.h @ params.w_h + params.b)
  return (h,), h @ params.w_y


def drawn(key, *shape: int) -> Array:
  return 0.5 * jax.random.normal(key, shape, jnp.float32)


def hidden(size: int):
  return lambda params, batch: Hidden(jnp.zeros((batch, size), params.b.dtype))


def multiplied(params, xs):
  return xs @ params.w_x


class EchoParams(NamedTuple):
  w_x: Frozen
  w_h: Frozen
  w_y: Array
  b: Array


def echo(input_size: int = D, hidden_size: int = H) -> Cell:
  """An echo state network: a frozen reservoir, y = h W + b (Jaeger 2001)."""

  def init(key):
    keys = jax.random.split(key, 3)
    return EchoParams(
      Frozen(drawn(keys[0], input_size, hidden_size)),
      Frozen(drawn(keys[1], hidden_size, hidden_size)),
      drawn(keys[2], hidden_size, hidden_size),
      jnp.zeros(hidden_size),
    )

  def step(params, carry, z):
    h = 0.3 * carry.h + 0.7 * jnp.tanh(z + carry.h @ params.w_h.value)
    return Hidden(h), linear.add_bias(h @ params.w_y, params.b)

  return Cell(
    init,
    lambda params, batch: Hidden(jnp.zeros((batch, hidden_size), params.b.dtype)),
    lambda params, xs: xs @ params.w_x.value,
    step,
  )


def echo_equation(params, carry, x):
  a = x @ params.w_x.value + carry.h @ params.w_h.value
  h = 0.3 * carry.h + 0.7 * np.tanh(a)
  return (h,), h @ params.w_y + params.b


IMAGE = (2, 3, 2)  # height, width, channels
CHANNELS = 2


def convolved(x, w):
  """`[B, height, width, C]` by a kernel `[3, 3, C, M]`, a tap at a time."""
  height, width = x.shape[1:3]
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return sum(
    padded[:, i : i + height, j : j + width] @ w[i, j]
    for i in range(3)
    for j in range(3)
  )


def conv_lstm_equation(params, carry, x):
  z = convolved(x, params.w_x) + convolved(carry.h, params.w_h) + params.b
  i, f, g, o = blocks(z, 4)
  p_i, p_f, p_o = params.peepholes.value
  c = sigmoid(f + p_f * carry.c) * carry.c + sigmoid(i + p_i * carry.c) * np.tanh(g)
  h = sigmoid(o + p_o * c) * np.tanh(c)
  return (c, h), h


def conv_gru_equation(params, carry, x):
  x_r, x_z, x_n = blocks(convolved(x, params.w_x) + params.b, 3)
  h_r, h_z = blocks(convolved(carry.h, params.w_h), 2)
  r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
  n = np.tanh(x_n + convolved(r * carry.h, params.w_n))
  h = (1 - z) * n + z * carry.h
  return (h,), h


HEADS, WIDTH = 2, 2


class AssociationParams(NamedTuple):
  w_x: Array  # [D, 3 heads d]
  w_q: Array  # [heads, d, d]
  w_y: Array  # [heads d, heads d]
  b: Array  # [3 heads d]


class Association(NamedTuple):
  """`memory [B, heads, d, d]`, and its `norm [B, heads, d]`."""

  memory: Array
  norm: Array


def association(input_size: int = D) -> Cell:
  """A matrix memory of each head, in the manner of an mLSTM (Beck et al. 2024)."""
  size = HEADS * WIDTH

  def init(key):
    keys = jax.random.split(key, 3)
    return AssociationParams(
      drawn(keys[0], input_size, 3 * size),
      drawn(keys[1], HEADS, WIDTH, WIDTH),
      drawn(keys[2], size, size),
      jnp.zeros(3 * size),
    )

  def carry(params, batch):
    zero = jnp.zeros((batch, HEADS, WIDTH, WIDTH), params.b.dtype)
    return Association(zero, zero[..., 0])

  def step(params, carry, z):
    z = linear.add_bias(z, params.b)
    q, k, v = (part.reshape(-1, HEADS, WIDTH) for part in jnp.split(z, 3, axis=-1))
    q = linear.einsum("bhi,hij->bhj", jnp.tanh(q + carry.norm), params.w_q)
    memory = 0.7 * carry.memory + jnp.einsum("bhi,bhj->bhij", v, k)
    norm = jnp.tanh(carry.norm + k)
    read = jnp.tanh(jnp.einsum("bhij,bhj->bhi", memory, q))
    return Association(memory, norm), read.reshape(-1, size) @ params.w_y

  return Cell(init, carry, multiplied, step)


def association_equation(params, carry, x):
  z = x @ params.w_x + params.b
  memory, norm = np.empty_like(carry.memory), np.empty_like(carry.norm)
  read = np.empty_like(carry.norm)
  for b in range(len(x)):
    q, k, v = z[b].reshape(3, HEADS, WIDTH)
    for n in range(HEADS):
      asked = np.tanh(q[n] + carry.norm[b, n]) @ params.w_q[n]
      memory[b, n] = 0.7 * carry.memory[b, n] + np.outer(v[n], k[n])
      norm[b, n] = np.tanh(carry.norm[b, n] + k[n])
      read[b, n] = np.tanh(memory[b, n] @ asked)
  return (memory, norm), read.reshape(len(x), -1) @ params.w_y


ROWS: dict[str, Row] = {
  "rnn": registered("rnn", partial(vanilla, np.tanh), 1),
  "relu_rnn": registered("relu_rnn", partial(vanilla, relu), 1),
  "linear_rnn": registered("linear_rnn", partial(vanilla, lambda a: a), 1),
  "irnn": registered("irnn", partial(vanilla, relu), 1),
  "gru": registered("gru", gru, 3),
  "gru_reset_before": registered("gru_reset_before", gru_reset_before, 3),
  "lstm": registered("lstm", lstm, 4),
  "projected": Row(projected, "derived", projected_equation),
  "echo": Row(echo, "recorded", echo_equation),
  "conv_lstm": Row(
    partial(conv_lstm, IMAGE, CHANNELS, peepholes=True),
    *("recorded", conv_lstm_equation),
    shape=IMAGE,
  ),
  "conv_gru": Row(
    partial(conv_gru, IMAGE, CHANNELS), "recorded", conv_gru_equation, shape=IMAGE
  ),
  "association": Row(association, "recorded", association_equation),
}
