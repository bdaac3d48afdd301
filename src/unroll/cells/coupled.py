"""The LSTM whose input gate is what its forget gate leaves: CIFG."""

import jax.numpy as jnp

from unroll.cells.dense import DenseParams, Keep, dense
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias, squash
from unroll.start import Init
from unroll.types import Array, Cell


def cifg(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The LSTM with coupled input and forget gates (Greff et al. 2017).

      f, o = σ(x W + h U + b)
      g    = tanh(x W + h U + b)
      c_t  = f ⊙ c_{t-1} + (1 - f) ⊙ g
      h_t  = o ⊙ tanh(c_t)

  Gates stand in the order f, g, o. An LSTM computes the same whose input gate has the
  weights of f with the other sign.

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the forget gate's bias at the start. Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """

  def step(params: DenseParams, carry: LSTMCarry, z: Array):
    z = add_bias(z, params.b) + carry.h @ params.w_h
    f, g, o = jnp.split(squash(z, hidden_size, "sts"), 3, axis=-1)
    c = f * carry.c + (1 - f) * g
    h = o * jnp.tanh(c)
    return LSTMCarry(c, h), h

  return dense(
    *(input_size, hidden_size, 3, step),
    init=init,
    keep=Keep(0, forget_bias),
    carry=LSTMCarry,
  )
