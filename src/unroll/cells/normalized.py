"""The LSTM and the GRU with layer normalisation, in the forms that have that name."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, HiddenCarry, Keep, dense
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias, squash
from unroll.start import Init
from unroll.types import Array, Cell, Key

EPSILON = 1e-5  # added to variances


class LSTMLayerNormParams(NamedTuple):
  """As of an LSTM; gains `[4H]` of both products, and of the memory, with its bias."""

  w_x: Array
  w_h: Array
  b: Array
  gain_x: Array
  gain_h: Array
  gain_c: Array
  b_c: Array


class GRULayerNormParams(NamedTuple):
  """`w_x [D, 3H]`, `w_h [H, 3H]`, `b [3H]` in the order r, z, n; `b_n [H]`; gains."""

  w_x: Array
  w_h: Array
  b: Array
  b_n: Array
  gain_x: Array
  gain_h: Array


def lstm_layer_norm(
  input_size: int,
  hidden_size: int,
  *,
  norm: Literal["products", "gates"] = "products",
  memory: Literal["raw", "normalized"] = "raw",
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The LSTM with layer normalisation (Ba, Kiros & Hinton 2016).

      a       = LN(x W) + LN(h U) + b     norm=products, each over all 4H: the paper's
      a       = LN(x W + h U) + b         norm=gates, each gate over its H
      i, f, o = σ(a), g = tanh(a)
      c_t     = f ⊙ c_{t-1} + i ⊙ g
      h_t     = o ⊙ tanh(LN(c_t))

  With memory=raw c_t goes on as it is, as in the paper and in haste; with
  memory=normalized LN(c_t) does, as in TensorFlow: norm=products is then the cell of
  TensorFlow Addons, norm=gates that of tf.contrib.

  Args:
    input_size: D.
    hidden_size: H.
    norm: what is normalised together.
    memory: what of the memory goes on.
    forget_bias: added to the forget gate's bias at the start. Chrono sets its own.
    init: how parameters start; gains start at 1.

  Returns:
    The cell; its output y_t is h_t.
  """

  def more(params: DenseParams, key: Key) -> LSTMLayerNormParams:
    del key
    ones = jnp.ones(4 * hidden_size)
    gains = (ones, ones, ones[:hidden_size], jnp.zeros(hidden_size))
    return LSTMLayerNormParams(*params, *gains)

  def step(params: LSTMLayerNormParams, carry: LSTMCarry, z: Array):
    r = carry.h @ params.w_h
    if norm == "products":
      z = _scaled(normalized(z), params.gain_x) + _scaled(normalized(r), params.gain_h)
    else:
      gates = (z + r).reshape(*z.shape[:-1], 4, hidden_size)
      z = _scaled(normalized(gates).reshape(z.shape), params.gain_x)
    a = squash(add_bias(z, params.b), hidden_size, "ssts")
    i, f, g, o = jnp.split(a, 4, axis=-1)
    c = f * carry.c + i * g
    read = add_bias(_scaled(normalized(c), params.gain_c), params.b_c)
    h = o * jnp.tanh(read)
    return LSTMCarry(c if memory == "raw" else read, h), h

  return dense(
    *(input_size, hidden_size, 4, step),
    init=init,
    keep=Keep(1, forget_bias, input=0),
    carry=LSTMCarry,
    more=more,
  )


def gru_layer_norm(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """The GRU with layer normalisation (Ba, Kiros & Hinton 2016), reset after.

      r, z = σ(LN(x W) + LN(h U) + b)          LN over both gates
      n    = tanh(LN(x W) + b + r ⊙ (LN(h U) + b_n))
      h_t  = (1 - z) ⊙ n + z ⊙ h_{t-1}

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the update gate's bias at the start. Chrono sets its own.
    init: how parameters start; gains start at 1.

  Returns:
    The cell; its output y_t is h_t.
  """

  def more(params: DenseParams, key: Key) -> GRULayerNormParams:
    del key
    ones = jnp.ones(3 * hidden_size)
    return GRULayerNormParams(*params, jnp.zeros(hidden_size), ones, ones)

  def parts(z: Array, gain: Array) -> tuple[Array, Array]:
    """What is normalised together: both gates, and the candidate."""
    both, new = jnp.split(z, [2 * hidden_size], axis=-1)
    scaled = _scaled(jnp.concatenate([normalized(both), normalized(new)], -1), gain)
    both, new = jnp.split(scaled, [2 * hidden_size], axis=-1)
    return both, new

  def step(params: GRULayerNormParams, carry: HiddenCarry, z: Array):
    x_rz, x_n = parts(z, params.gain_x)
    h_rz, h_n = parts(carry.h @ params.w_h, params.gain_h)
    b_rz, b_n = jnp.split(params.b, [2 * hidden_size])
    rz = squash(add_bias(x_rz + h_rz, b_rz), hidden_size, "ss")
    r, z = jnp.split(rz, 2, axis=-1)
    n = jnp.tanh(add_bias(x_n, b_n) + r * add_bias(h_n, params.b_n))
    h = (1 - z) * n + z * carry.h
    return HiddenCarry(h), h

  return dense(
    *(input_size, hidden_size, 3, step),
    init=init,
    keep=Keep(1, forget_bias),
    more=more,
  )


def normalized(x: Array) -> Array:
  """x with mean 0 and variance 1 over its last axis."""
  x = x - x.mean(-1, keepdims=True)
  variance = jnp.mean(x * x, -1, keepdims=True)
  return x * jax.lax.rsqrt(variance + EPSILON)


def _scaled(x: Array, gain: Array) -> Array:
  return x * jnp.broadcast_to(gain, x.shape).astype(x.dtype)
