"""Long short-term memory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.linear import add_bias, bias_gradient, squash, squash_slope, weight_gradient
from unroll.start import Init, bias_gates, chrono_bias, gates
from unroll.types import Array, Cell, Derivative, Key


class LSTMParams(NamedTuple):
  """`w_x [D, 4H]`, `w_h [H, 4H]`, `b [4H]`; gates in the order i, f, g, o."""

  w_x: Array
  w_h: Array
  b: Array


class LSTMCarry(NamedTuple):
  """The memory `c [B, H]` and the hidden state `h [B, H]`."""

  c: Array
  h: Array


def lstm(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """Long short-term memory with a forget gate (Gers, Schmidhuber & Cummins 2000).

      i, f, o = σ(x W + h U + b)      input, forget and output gate
      g       = tanh(x W + h U + b)   candidate
      c_t     = f ⊙ c_{t-1} + i ⊙ g
      h_t     = o ⊙ tanh(c_t)

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the forget gate's bias at the start, so that a new cell
      remembers (Jozefowicz, Zaremba & Sutskever 2015). Chrono sets its own.
    init: how parameters start; orthogonal `w_h` gate by gate by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  init = init or Init()

  def new(key: Key) -> LSTMParams:
    key_x, key_h, key_b, key_c = jax.random.split(key, 4)
    b = bias_gates(init.bias, key_b, hidden_size, 4)
    forget = slice(hidden_size, 2 * hidden_size)
    if init.chrono is None:
      b = b.at[forget].add(forget_bias)
    else:
      memory = chrono_bias(key_c, hidden_size, init.chrono)
      b = b.at[forget].set(memory).at[:hidden_size].set(-memory)
    return LSTMParams(
      w_x=gates(init.kernel, key_x, input_size, hidden_size, 4),
      w_h=gates(init.recurrent, key_h, hidden_size, hidden_size, 4),
      b=b,
    )

  def carry(params: LSTMParams, batch: int) -> LSTMCarry:
    zero = jnp.zeros((batch, hidden_size), params.b.dtype)
    return LSTMCarry(zero, zero)

  def project(params: LSTMParams, xs: Array) -> Array:
    return xs @ params.w_x

  def forward(params: LSTMParams, carry: LSTMCarry, z: Array):
    z = add_bias(z, params.b) + carry.h @ params.w_h
    a = squash(z, hidden_size, "ssts")
    i, f, g, o = jnp.split(a, 4, axis=-1)
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    return LSTMCarry(c, h), h, (a,)

  def backward(transposed: LSTMParams, saved, before, after, d_after: LSTMCarry, d_y):
    (a,) = saved
    i, f, g, o = jnp.split(a, 4, axis=-1)
    tanh_c = jnp.tanh(after.c)
    d_h = d_after.h + d_y
    d_c = d_after.c + d_h * o * (1 - tanh_c * tanh_c)
    upper = jnp.concatenate([d_c, d_c, d_c, d_h], axis=-1)
    factor = jnp.concatenate([g, before.c, i, tanh_c], axis=-1)
    d_z = upper * factor * squash_slope(a, hidden_size, "ssts")
    return LSTMCarry(d_c * f, d_z @ transposed.w_h), (d_z,)

  def weights(params: LSTMParams, before: LSTMCarry, d_saved):
    (d_z,) = d_saved
    return jax.tree.map(jnp.zeros_like, params)._replace(
      w_h=weight_gradient(before.h, d_z, params.w_h.dtype),
      b=bias_gradient(d_z, params.b.dtype),
    )

  derivative = Derivative(forward, backward, weights)
  return Cell(new, carry, project, derivative.step, derivative)
