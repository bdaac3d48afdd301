"""The multiplicative LSTM: the input chooses the recurrent matrix."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, Keep, dense
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias, squash
from unroll.start import Init, gates
from unroll.types import Array, Cell, Key


class MultiplicativeParams(NamedTuple):
  """`w_x [D, 5H]` of i, f, g, o, m; `w_m [H, 4H]`, `b [4H]` of gates; `w_h [H, H]`."""

  w_x: Array
  w_m: Array
  b: Array
  w_h: Array


def lstm_multiplicative(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The multiplicative LSTM (Krause, Lu, Murray & Renals 2016).

      m       = (x W_m) ⊙ (h U_m)
      i, f, o = σ(x W + m U + b)
      g       = tanh(x W + m U + b)
      c_t     = f ⊙ c_{t-1} + i ⊙ g
      h_t     = o ⊙ tanh(c_t)

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the forget gate's bias at the start. Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts = init or Init()

  def more(params: DenseParams, key: Key) -> MultiplicativeParams:
    key_x, key_h = jax.random.split(key)
    factor = gates(starts.kernel, key_x, input_size, hidden_size, 1)
    return MultiplicativeParams(
      w_x=jnp.concatenate([params.w_x, factor], axis=1),
      w_m=params.w_h,
      b=params.b,
      w_h=gates(starts.recurrent, key_h, hidden_size, hidden_size, 1),
    )

  def step(params: MultiplicativeParams, carry: LSTMCarry, z: Array):
    z, factor = jnp.split(z, [4 * hidden_size], axis=-1)
    m = factor * (carry.h @ params.w_h)
    z = add_bias(z, params.b) + m @ params.w_m
    i, f, g, o = jnp.split(squash(z, hidden_size, "ssts"), 4, axis=-1)
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    return LSTMCarry(c, h), h

  return dense(
    *(input_size, hidden_size, 4, step),
    init=init,
    keep=Keep(1, forget_bias, input=0),
    carry=LSTMCarry,
    more=more,
  )
