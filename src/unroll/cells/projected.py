"""The LSTM whose memory is wider than what it hands on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import Keep, gate_bias
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias, squash
from unroll.start import Init, gates
from unroll.types import Array, BadInput, Cell, Key


class ProjectedParams(NamedTuple):
  """`w_x [D, 4M]`, `w_h [H, 4M]`, `b [4M]` in the order i, f, g, o; `w_y [M, H]`."""

  w_x: Array
  w_h: Array
  b: Array
  w_y: Array


def lstm_projected(
  input_size: int,
  hidden_size: int,
  *,
  memory: int | None = None,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The LSTM with a recurrent projection (Sak, Senior & Beaufays 2014).

      i, f, o = σ(x W + h U + b)
      g       = tanh(x W + h U + b)
      c_t     = f ⊙ c_{t-1} + i ⊙ g
      h_t     = (o ⊙ tanh(c_t)) P

  torch.nn.LSTM calls M its `hidden_size`, and H its `proj_size`.

  Args:
    input_size: D.
    hidden_size: H, of the hidden state, which is the output.
    memory: M, the units of the memory; 4 H by default.
    forget_bias: added to the forget gate's bias at the start. Chrono sets its own.
    init: how parameters start; P as a recurrent matrix.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts, units = init or Init(), 4 * hidden_size if memory is None else memory
  if units < 1:
    raise BadInput(f"memory={units}: an LSTM has at least 1 unit of memory")

  def new(key: Key) -> ProjectedParams:
    key_x, key_h, key_b, key_c, key_y = jax.random.split(key, 5)
    keep = Keep(1, forget_bias, input=0)
    return ProjectedParams(
      w_x=gates(starts.kernel, key_x, input_size, units, 4),
      w_h=gates(starts.recurrent, key_h, hidden_size, units, 4),
      b=gate_bias(key_b, key_c, units, 4, starts, keep),
      w_y=gates(starts.recurrent, key_y, units, hidden_size, 1),
    )

  def carry(params: ProjectedParams, batch: int) -> LSTMCarry:
    c, h = (jnp.zeros((batch, n), params.b.dtype) for n in (units, hidden_size))
    return LSTMCarry(c, h)

  def step(params: ProjectedParams, carry: LSTMCarry, z: Array):
    z = add_bias(z, params.b) + carry.h @ params.w_h
    i, f, g, o = jnp.split(squash(z, units, "ssts"), 4, axis=-1)
    c = f * carry.c + i * g
    h = (o * jnp.tanh(c)) @ params.w_y
    return LSTMCarry(c, h), h

  return Cell(new, carry, lambda params, xs: xs @ params.w_x, step)
