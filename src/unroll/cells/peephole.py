"""The LSTM whose gates see its memory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, Keep, dense
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias
from unroll.start import Init, bias_gates
from unroll.types import Array, Cell, Key


class PeepholeParams(NamedTuple):
  """As of an LSTM; and `p_i`, `p_f`, `p_o [H]`, through which gates see the memory."""

  w_x: Array
  w_h: Array
  b: Array
  p_i: Array
  p_f: Array
  p_o: Array


def lstm_peephole(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The LSTM with peepholes (Gers, Schraudolph & Schmidhuber 2002).

      i, f = σ(x W + h U + p ⊙ c_{t-1} + b)
      g    = tanh(x W + h U + b)
      c_t  = f ⊙ c_{t-1} + i ⊙ g
      o    = σ(x W + h U + p_o ⊙ c_t + b)   sees the new memory
      h_t  = o ⊙ tanh(c_t)

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the forget gate's bias at the start.
    init: how parameters start; peepholes start as biases do, at zero by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts = init or Init()

  def more(params: DenseParams, key: Key) -> PeepholeParams:
    keys = jax.random.split(key, 3)
    return PeepholeParams(
      *params, *(bias_gates(starts.bias, key, hidden_size, 1) for key in keys)
    )

  def step(params: PeepholeParams, carry: LSTMCarry, z: Array):
    carry = stepped(params, carry, z)
    return carry, carry.h

  return dense(
    *(input_size, hidden_size, 4, step),
    init=init,
    keep=Keep(1, forget_bias, input=0),
    carry=LSTMCarry,
    more=more,
  )


def stepped(params: Any, carry: LSTMCarry, z: Array) -> LSTMCarry:
  """The step, of parameters that have those of `PeepholeParams`."""

  def seen(c: Array, p: Array) -> Array:
    return c * jnp.broadcast_to(p, c.shape).astype(c.dtype)

  z = add_bias(z, params.b) + carry.h @ params.w_h
  i, f, g, o = jnp.split(z, 4, axis=-1)
  i = jax.nn.sigmoid(i + seen(carry.c, params.p_i))
  f = jax.nn.sigmoid(f + seen(carry.c, params.p_f))
  c = f * carry.c + i * jnp.tanh(g)
  h = jax.nn.sigmoid(o + seen(c, params.p_o)) * jnp.tanh(c)
  return LSTMCarry(c, h)
