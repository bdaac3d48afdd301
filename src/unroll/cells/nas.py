"""The cell that a search over architectures found."""

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, dense
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias
from unroll.start import Init
from unroll.types import Array, Cell


def nas(input_size: int, hidden_size: int, *, init: Init | None = None) -> Cell:
  """The cell of a neural architecture search (Zoph & Le 2017), as in TensorFlow.

  With x_k and h_k the eight blocks of x W and of h U + b:

      a   = σ(x_1 + h_1), relu(x_2 + h_2), σ(x_3 + h_3), relu(x_4 ⊙ h_4),
            tanh(x_5 + h_5), σ(x_6 + h_6), tanh(x_7 + h_7), σ(x_8 + h_8)
      c_t = tanh(tanh(a_1 ⊙ a_2) + c_{t-1}) ⊙ tanh(a_3 + a_4)
      h_t = tanh(c_t ⊙ tanh(tanh(a_5 ⊙ a_6) + σ(a_7 + a_8)))

  Args:
    input_size: D.
    hidden_size: H.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  sigmoid, relu, tanh = jax.nn.sigmoid, jax.nn.relu, jnp.tanh

  def step(params: DenseParams, carry: LSTMCarry, z: Array):
    xs = jnp.split(z, 8, axis=-1)
    hs = jnp.split(add_bias(carry.h @ params.w_h, params.b), 8, axis=-1)
    s = [x + h for x, h in zip(xs, hs)]
    left = tanh(tanh(sigmoid(s[0]) * relu(s[1])) + carry.c)
    c = left * tanh(sigmoid(s[2]) + relu(xs[3] * hs[3]))
    right = tanh(tanh(s[4]) * sigmoid(s[5])) + sigmoid(tanh(s[6]) + sigmoid(s[7]))
    h = tanh(c * tanh(right))
    return LSTMCarry(c, h), h

  return dense(input_size, hidden_size, 8, step, init=init, carry=LSTMCarry)
