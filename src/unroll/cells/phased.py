"""The phased LSTM, whose units are open for a part of a period of their own."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, Keep, dense
from unroll.cells.lstm import LSTMCarry
from unroll.cells.peephole import stepped
from unroll.cells.timing import features, parted, projected
from unroll.start import Init, bias_gates
from unroll.types import Array, BadInput, Cell, Key, Noted


class PhasedLSTMParams(NamedTuple):
  """As of an LSTM with peepholes; and `log_period [H]`, `shift [H]` of each unit."""

  w_x: Array
  w_h: Array
  b: Array
  p_i: Array
  p_f: Array
  p_o: Array
  log_period: Array
  shift: Array


class PhasedLSTMCarry(NamedTuple):
  """The memory `c [B, H]`, the state `h [B, H]`, and the time `t [B, 1]`."""

  c: Array
  h: Array
  t: Noted


def phased_lstm(
  input_size: int,
  hidden_size: int,
  *,
  ratio: float = 0.05,
  leak: float = 0.001,
  shortest: float = 1.0,
  longest: float = 1000.0,
  timed: bool = False,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The phased LSTM (Neil, Pfeiffer & Liu 2016).

      t   = t + dt                            the clock
      φ   = ((t - s) mod τ) / τ               the phase of a unit
      k   = 2 φ / r         if φ < r / 2      it opens,
            2 - 2 φ / r     if φ < r          it closes,
            α φ             otherwise         and leaks
      c_t = k ⊙ c + (1 - k) ⊙ c_{t-1}         of an LSTM's new c, with peepholes,
      h_t = k ⊙ h + (1 - k) ⊙ h_{t-1}         and its new h

  The clock starts at 0, and afresh with each sequence.

  Args:
    input_size: D.
    hidden_size: H.
    ratio: r, the part of a period in which a unit is open; it is not trained.
    leak: α. The paper has 0 after training: the same parameters fit a cell of leak 0.
    shortest: the shortest period τ at the start; their logarithms are uniform.
    longest: the longest. A shift s is uniform on a period. Both are trained.
    timed: whether the last input is dt, the time since the step before; else it is 1.
    forget_bias: added to the forget gate's bias at the start.
    init: how parameters start; peepholes start as biases do.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if a number is out of its range, or there is no feature.
  """
  if not 0 < ratio <= 1:
    raise BadInput(f"ratio={ratio:g}: give a number above 0 and up to 1")
  if not 0 <= leak <= 1:
    raise BadInput(f"leak={leak:g}: give a number from 0 to 1")
  if not 0 < shortest <= longest:
    raise BadInput(
      f"shortest={shortest:g}, longest={longest:g}: give 0 < shortest ≤ longest"
    )
  starts = init or Init()

  def more(params: DenseParams, key: Key) -> PhasedLSTMParams:
    *keys, key_t, key_s = jax.random.split(key, 5)
    peepholes = [bias_gates(starts.bias, key, hidden_size, 1) for key in keys]
    bounds = (math.log(shortest), math.log(longest))
    log_period = jax.random.uniform(key_t, (hidden_size,), jnp.float32, *bounds)
    share = jax.random.uniform(key_s, (hidden_size,), jnp.float32)
    own = [*peepholes, log_period, share * jnp.exp(log_period)]
    return PhasedLSTMParams(*params, *own)

  def opened(params: PhasedLSTMParams, t: Array) -> Array:
    shape = (*t.shape[:-1], hidden_size)
    period, shift = (
      jnp.broadcast_to(leaf.astype(t.dtype), shape)
      for leaf in (jnp.exp(params.log_period), params.shift)
    )
    turns = (t - shift) / period
    phase = turns - jnp.floor(turns)
    opening = 2 * phase / ratio
    closing = jnp.where(phase < ratio, 2 - opening, leak * phase)
    return jnp.where(phase < ratio / 2, opening, closing)

  def step(params: PhasedLSTMParams, carry: PhasedLSTMCarry, z: Array):
    z, dt = parted(z, timed)
    t = carry.t.value + dt
    k = opened(params, t)
    c, h = stepped(params, LSTMCarry(carry.c, carry.h), z)
    c, h = k * c + (1 - k) * carry.c, k * h + (1 - k) * carry.h
    return PhasedLSTMCarry(c, h, Noted(t)), h

  def carry(params: PhasedLSTMParams, batch: int) -> PhasedLSTMCarry:
    zero = jnp.zeros((batch, hidden_size), params.b.dtype)
    return PhasedLSTMCarry(zero, zero, Noted(zero[:, :1]))

  cell = dense(
    *(features(input_size, timed), hidden_size, 4, step),
    init=starts,
    keep=Keep(1, forget_bias, input=0),
    more=more,
  )
  return cell._replace(
    carry=carry,
    project=lambda params, xs: projected(lambda xs: xs @ params.w_x, xs, timed),
  )
