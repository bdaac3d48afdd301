"""sLSTM: an LSTM whose gates are exponentials, kept in range by a running maximum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, Keep, dense
from unroll.linear import add_bias
from unroll.start import Init
from unroll.types import Array, Cell


class SLSTMCarry(NamedTuple):
  """`h`, memory `c`, normaliser `n` and the logarithm `m` of their scale, `[B, H]`."""

  h: Array
  c: Array
  n: Array
  m: Array


def slstm(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The sLSTM of xLSTM (Beck et al. 2024), its forget gate a sigmoid.

      i, f, z, o = x W + h_{t-1} R + b
      m_t = max(log σ(f) + m_{t-1}, i)
      f', i' = exp(log σ(f) + m_{t-1} - m_t), exp(i - m_t)
      c_t = f' ⊙ c_{t-1} + i' ⊙ tanh(z)
      n_t = f' ⊙ n_{t-1} + i'
      h_t = σ(o) ⊙ c_t / n_t

  c and n stand for exp(m) times as much, which h does not depend on. Where nothing is
  remembered, n is 0, and m is i. The paper's R is block-diagonal, as `compose.heads`
  makes it.

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the bias of f at the start. Chrono sets its own, and the
      opposite for i.
    init: how parameters start. The paper's code starts R at zero.

  Returns:
    The cell; its output y_t is h_t.
  """

  def step(params: DenseParams, carry: SLSTMCarry, z: Array):
    a = add_bias(z + carry.h @ params.w_h, params.b)
    i, f, new, o = jnp.split(a, 4, axis=-1)
    h, c, n, m = carry
    kept = jax.nn.log_sigmoid(f) + m
    m = jnp.where(n == 0, i, jnp.maximum(kept, i))
    # Of a memory that is empty, the forget gate could be any number, infinity too.
    f, i = jnp.exp(jnp.minimum(kept - m, 0)), jnp.exp(i - m)
    c, n = f * c + i * jnp.tanh(new), f * n + i
    h = jax.nn.sigmoid(o) * c / n
    return SLSTMCarry(h, c, n, m), h

  return dense(
    input_size,
    hidden_size,
    4,
    step,
    init=init,
    keep=Keep(1, forget_bias, input=0),
    carry=SLSTMCarry,
  )
