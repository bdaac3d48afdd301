"""The LSTM whose input and state gate each other first."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, Keep, dense
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias, squash
from unroll.start import Init, gates
from unroll.types import Array, BadInput, Cell, Key


class MogrifierParams(NamedTuple):
  """As of an LSTM; and `q [H, D]` of each odd round, `r [D, H]` of each even one."""

  w_x: Array
  w_h: Array
  b: Array
  q: tuple[Array, ...]
  r: tuple[Array, ...]


def lstm_mogrifier(
  input_size: int,
  hidden_size: int,
  *,
  rounds: int = 5,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The Mogrifier LSTM (Melis, Kočiský & Blunsom 2020).

      x       ← 2 σ(h Q_i) ⊙ x          in the odd rounds i
      h       ← 2 σ(x R_i) ⊙ h          in the even ones
      i, f, o = σ(x W + h U + b)
      g       = tanh(x W + h U + b)
      c_t     = f ⊙ c_{t-1} + i ⊙ g
      h_t     = o ⊙ tanh(c_t)

  The input meets the state before any product, so nothing is projected for all steps
  at once.

  Args:
    input_size: D.
    hidden_size: H.
    rounds: of gating; 0 is an LSTM.
    forget_bias: added to the forget gate's bias at the start. Chrono sets its own.
    init: how parameters start; Q and R as an input matrix.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts = init or Init()
  if rounds < 0:
    raise BadInput(f"rounds={rounds}: give 0 or more")

  def more(params: DenseParams, key: Key) -> MogrifierParams:
    sizes = [(hidden_size, input_size), (input_size, hidden_size)]
    keys = jax.random.split(key, rounds) if rounds else ()
    drawn = [gates(starts.kernel, key, *sizes[i % 2], 1) for i, key in enumerate(keys)]
    return MogrifierParams(*params, tuple(drawn[::2]), tuple(drawn[1::2]))

  def step(params: MogrifierParams, carry: LSTMCarry, x: Array):
    h = carry.h
    for number in range(rounds):
      if number % 2 == 0:
        x = 2 * jax.nn.sigmoid(h @ params.q[number // 2]) * x
      else:
        h = 2 * jax.nn.sigmoid(x @ params.r[number // 2]) * h
    z = add_bias(x @ params.w_x + h @ params.w_h, params.b)
    i, f, g, o = jnp.split(squash(z, hidden_size, "ssts"), 4, axis=-1)
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    return LSTMCarry(c, h), h

  cell = dense(
    *(input_size, hidden_size, 4, step),
    init=init,
    keep=Keep(1, forget_bias, input=0),
    carry=LSTMCarry,
    more=more,
  )
  return cell._replace(project=lambda params, xs: xs)
