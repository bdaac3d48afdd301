"""Cells that are steps of a differential equation: coRNN and LEM."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, carried, dense, dense_params, refuse_chrono
from unroll.linear import add_bias, squash
from unroll.start import Init, gates
from unroll.types import Array, BadInput, Cell, Key


class CoRNNParams(NamedTuple):
  """`w_x [D, H]`, `w_y [H, H]`, `w_z [H, H]`, `b [H]`."""

  w_x: Array
  w_y: Array
  w_z: Array
  b: Array


class CoRNNCarry(NamedTuple):
  """The position `y [B, H]` of each oscillator, and its velocity `z [B, H]`."""

  y: Array
  z: Array


class LEMParams(NamedTuple):
  """`w_x [D, 4H]`, `w_h [H, 3H]`, `w_z [H, H]`, `b [4H]`.

  Blocks: the time steps of y and of z, and the candidates of z and of y, which alone
  reads the new z.
  """

  w_x: Array
  w_h: Array
  w_z: Array
  b: Array


class LEMCarry(NamedTuple):
  """The fast state `y [B, H]`, and the slow one `z [B, H]`."""

  y: Array
  z: Array


def co_rnn(
  input_size: int,
  hidden_size: int,
  *,
  step: float = 0.042,
  frequency: float = 2.7,
  damping: float = 4.7,
  init: Init | None = None,
) -> Cell:
  """Coupled oscillators, damped and driven (Rusch & Mishra 2021).

      z_t = z_{t-1} + Δ (tanh(x W + y_{t-1} U + z_{t-1} R + b) - γ y_{t-1} - ε z_{t-1})
      y_t = y_{t-1} + Δ z_t

  As in the authors' code, damping reads the old z.

  Args:
    input_size: D.
    hidden_size: H.
    step: Δ, the time of a step; defaults are those for pixel by pixel digits.
    frequency: γ, the squared frequency of an oscillator alone.
    damping: ε.
    init: how parameters start; orthogonal U and R by default.

  Returns:
    The cell; its output is y_t.

  Raises:
    BadInput: if a number is not positive.
  """
  for name, value in (("step", step), ("frequency", frequency), ("damping", damping)):
    if not value > 0:
      raise BadInput(f"{name}={value:g}: give a number above 0")
  starts = init or Init()
  refuse_chrono(starts)

  def new(key: Key) -> CoRNNParams:
    key, own = jax.random.split(key)
    w_x, w_y, b = dense_params(key, input_size, hidden_size, 1, starts)
    w_z = gates(starts.recurrent, own, hidden_size, hidden_size, 1)
    return CoRNNParams(w_x, w_y, w_z, b)

  def oscillated(params: CoRNNParams, carry: CoRNNCarry, z: Array):
    y, v = carry
    drive = add_bias(z, params.b) + y @ params.w_y + v @ params.w_z
    v = v + step * (jnp.tanh(drive) - frequency * y - damping * v)
    y = y + step * v
    return CoRNNCarry(y, v), y

  return Cell(
    new,
    carried(hidden_size, CoRNNCarry),
    lambda params, xs: xs @ params.w_x,
    oscillated,
  )


def lem(
  input_size: int,
  hidden_size: int,
  *,
  step: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """Long expressive memory (Rusch, Mishra, Erichson & Mahoney 2022).

      δ, Δ = step σ(x W + y_{t-1} U + b)
      z_t  = (1 - Δ) ⊙ z_{t-1} + Δ ⊙ tanh(x W + y_{t-1} U + b)
      y_t  = (1 - δ) ⊙ y_{t-1} + δ ⊙ tanh(x W + z_t R + b)

  Args:
    input_size: D.
    hidden_size: H.
    step: the longest time of a step.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output is y_t.

  Raises:
    BadInput: if the step is not positive.
  """
  if not step > 0:
    raise BadInput(f"step={step:g}: give a number above 0")
  starts = init or Init()

  def more(params: DenseParams, key: Key) -> LEMParams:
    w_x, w_h, b = params
    key_h, key_z = jax.random.split(key)
    w_h = gates(starts.recurrent, key_h, hidden_size, hidden_size, 3)
    w_z = gates(starts.recurrent, key_z, hidden_size, hidden_size, 1)
    return LEMParams(w_x, w_h, w_z, b)

  def remembered(params: LEMParams, carry: LEMCarry, z: Array):
    a, a_y = jnp.split(add_bias(z, params.b), [3 * hidden_size], axis=-1)
    both = squash(a + carry.y @ params.w_h, hidden_size, "sst")
    fast, slow, new = jnp.split(both, 3, axis=-1)
    slow_state = (1 - step * slow) * carry.z + step * slow * new
    fast_new = jnp.tanh(a_y + slow_state @ params.w_z)
    y = (1 - step * fast) * carry.y + step * fast * fast_new
    return LEMCarry(y, slow_state), y

  return dense(
    *(input_size, hidden_size, 4, remembered),
    init=starts,
    carry=LEMCarry,
    more=more,
  )
