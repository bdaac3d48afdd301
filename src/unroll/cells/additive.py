"""The recurrent additive network: its memory is a weighted sum of inputs."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import Keep, carried, gate_bias
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias, squash
from unroll.start import Init, gates
from unroll.types import Array, Cell, Key


class RANParams(NamedTuple):
  """`w_x [D, 3H]` in the order i, f and what is added; `w_h [H, 2H]`, `b [2H]`."""

  w_x: Array
  w_h: Array
  b: Array


def ran(
  input_size: int,
  hidden_size: int,
  *,
  output: Literal["tanh", "identity"] = "tanh",
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The recurrent additive network (Lee, Levy & Zettlemoyer 2017).

      i, f = σ(x W + h U + b)
      c_t  = i ⊙ (x W_c) + f ⊙ c_{t-1}
      h_t  = tanh(c_t), or c_t itself

  Args:
    input_size: D.
    hidden_size: H.
    output: what is handed on of the memory.
    forget_bias: added to the forget gate's bias at the start. Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts, keep = init or Init(), Keep(1, forget_bias, input=0)

  def new(key: Key) -> RANParams:
    key_x, key_h, key_b, key_c = jax.random.split(key, 4)
    return RANParams(
      w_x=gates(starts.kernel, key_x, input_size, hidden_size, 3),
      w_h=gates(starts.recurrent, key_h, hidden_size, hidden_size, 2),
      b=gate_bias(key_b, key_c, hidden_size, 2, starts, keep),
    )

  def step(params: RANParams, carry: LSTMCarry, z: Array):
    z, new = jnp.split(z, [2 * hidden_size], axis=-1)
    z = add_bias(z, params.b) + carry.h @ params.w_h
    i, f = jnp.split(squash(z, hidden_size, "ss"), 2, axis=-1)
    c = i * new + f * carry.c
    h = jnp.tanh(c) if output == "tanh" else c
    return LSTMCarry(c, h), h

  carry = carried(hidden_size, LSTMCarry)
  return Cell(new, carry, lambda params, xs: xs @ params.w_x, step)
