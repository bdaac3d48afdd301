"""Gated recurrent units, in the two forms that are both called GRU."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.linear import add_bias, bias_gradient, squash, weight_gradient
from unroll.start import Init, bias_gates, chrono_bias, gates
from unroll.types import Array, Cell, Derivative, Key


class GRUParams(NamedTuple):
  """`w_x [D, 3H]`, `w_h [H, 3H]`, `b [3H]` in the order r, z, n; `b_n [H]`."""

  w_x: Array
  w_h: Array
  b: Array
  b_n: Array


class GRUResetBeforeParams(NamedTuple):
  """`w_x [D, 3H]`, `b [3H]` in the order r, z, n; `w_rz [H, 2H]`, `w_n [H, H]`."""

  w_x: Array
  w_rz: Array
  w_n: Array
  b: Array


class GRUCarry(NamedTuple):
  """`h [B, H]`."""

  h: Array


def gru(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """The GRU that resets after the matrix product: cuDNN's and torch's form.

      r, z = σ(x W + h U + b)                 reset and update gate
      n    = tanh(x W + b + r ⊙ (h U + b_n))  candidate
      h_t  = (1 - z) ⊙ n + z ⊙ h_{t-1}

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the update gate's bias at the start. Where that gate is 1 the
      state is kept, as by an LSTM's forget gate; below 0 a new cell forgets sooner.
      Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  init = init or Init()

  def new(key: Key) -> GRUParams:
    key_x, key_h, key_b, key_n, key_c = jax.random.split(key, 5)
    return GRUParams(
      w_x=gates(init.kernel, key_x, input_size, hidden_size, 3),
      w_h=gates(init.recurrent, key_h, hidden_size, hidden_size, 3),
      b=_bias(init, key_b, key_c, hidden_size, forget_bias),
      b_n=bias_gates(init.bias, key_n, hidden_size, 1),
    )

  def project(params: GRUParams, xs: Array) -> Array:
    return xs @ params.w_x

  def forward(params: GRUParams, carry: GRUCarry, z_x: Array):
    z_x = add_bias(z_x, params.b)
    z_h = carry.h @ params.w_h
    rz = squash((z_x + z_h)[..., : 2 * hidden_size], hidden_size, "ss")
    r, z = jnp.split(rz, 2, axis=-1)
    x_n, h_n = z_x[..., 2 * hidden_size :], z_h[..., 2 * hidden_size :]
    h_n = add_bias(h_n, params.b_n)
    n = jnp.tanh(x_n + r * h_n)
    h = (1 - z) * n + z * carry.h
    return GRUCarry(h), h, (jnp.concatenate([rz, n], axis=-1), h_n)

  def backward(transposed: GRUParams, saved, before, after, d_after: GRUCarry, d_y):
    rzn, h_n = saved
    r, z, n = jnp.split(rzn, 3, axis=-1)
    d_new = d_after.h + d_y
    d_n = d_new * (1 - z) * (1 - n * n)
    d_h = d_new * z
    d_z = d_h * (before.h - n) * (1 - z)
    d_h_n = d_n * r
    d_r = d_h_n * h_n * (1 - r)
    d_h = d_h + jnp.concatenate([d_r, d_z, d_h_n], axis=-1) @ transposed.w_h
    return GRUCarry(d_h), (jnp.concatenate([d_r, d_z, d_n], axis=-1), d_h_n)

  def weights(params: GRUParams, before: GRUCarry, d_saved):
    d_z_x, d_h_n = d_saved
    d_rz = d_z_x[..., : 2 * hidden_size]
    w_h = [weight_gradient(before.h, d, params.w_h.dtype) for d in (d_rz, d_h_n)]
    return jax.tree.map(jnp.zeros_like, params)._replace(
      w_h=jnp.concatenate(w_h, axis=-1),
      b=bias_gradient(d_z_x, params.b.dtype),
      b_n=bias_gradient(d_h_n, params.b_n.dtype),
    )

  return _cell(new, hidden_size, project, Derivative(forward, backward, weights))


def gru_reset_before(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """The GRU that resets before the matrix product (Cho et al. 2014).

      r, z = σ(x W + h U + b)
      n    = tanh(x W + (r ⊙ h) U_n + b)
      h_t  = (1 - z) ⊙ n + z ⊙ h_{t-1}

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the update gate's bias at the start. Where that gate is 1 the
      state is kept, as by an LSTM's forget gate; below 0 a new cell forgets sooner.
      Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  init = init or Init()

  def new(key: Key) -> GRUResetBeforeParams:
    key_x, key_rz, key_n, key_b, key_c = jax.random.split(key, 5)
    return GRUResetBeforeParams(
      w_x=gates(init.kernel, key_x, input_size, hidden_size, 3),
      w_rz=gates(init.recurrent, key_rz, hidden_size, hidden_size, 2),
      w_n=gates(init.recurrent, key_n, hidden_size, hidden_size, 1),
      b=_bias(init, key_b, key_c, hidden_size, forget_bias),
    )

  def project(params: GRUResetBeforeParams, xs: Array) -> Array:
    return xs @ params.w_x

  def forward(params: GRUResetBeforeParams, carry: GRUCarry, z_x: Array):
    z_x = add_bias(z_x, params.b)
    x_rz, x_n = z_x[..., : 2 * hidden_size], z_x[..., 2 * hidden_size :]
    rz = squash(x_rz + carry.h @ params.w_rz, hidden_size, "ss")
    r, z = jnp.split(rz, 2, axis=-1)
    n = jnp.tanh(x_n + (r * carry.h) @ params.w_n)
    h = (1 - z) * n + z * carry.h
    return GRUCarry(h), h, (jnp.concatenate([rz, n], axis=-1), r * carry.h)

  def backward(
    transposed: GRUResetBeforeParams, saved, before, after, d_after: GRUCarry, d_y
  ):
    rzn, rh = saved
    r, z, n = jnp.split(rzn, 3, axis=-1)
    d_new = d_after.h + d_y
    d_n = d_new * (1 - z) * (1 - n * n)
    d_h = d_new * z
    d_z = d_h * (before.h - n) * (1 - z)
    d_h_r = (d_n @ transposed.w_n) * r
    d_rz = jnp.concatenate([d_h_r * before.h * (1 - r), d_z], axis=-1)
    d_h = d_h + d_h_r + d_rz @ transposed.w_rz
    # r ⊙ h stays: it is the left factor of the gradient of w_n.
    return GRUCarry(d_h), (jnp.concatenate([d_rz, d_n], axis=-1), rh)

  def weights(params: GRUResetBeforeParams, before: GRUCarry, d_saved):
    d_z_x, rh = d_saved
    d_rz, d_n = d_z_x[..., : 2 * hidden_size], d_z_x[..., 2 * hidden_size :]
    return jax.tree.map(jnp.zeros_like, params)._replace(
      w_rz=weight_gradient(before.h, d_rz, params.w_rz.dtype),
      w_n=weight_gradient(rh, d_n, params.w_n.dtype),
      b=bias_gradient(d_z_x, params.b.dtype),
    )

  return _cell(new, hidden_size, project, Derivative(forward, backward, weights))


def _cell(init, hidden_size: int, project, derivative: Derivative) -> Cell:
  def carry(params, batch: int) -> GRUCarry:
    return GRUCarry(jnp.zeros((batch, hidden_size), params.b.dtype))

  return Cell(init, carry, project, derivative.step, derivative)


def _bias(
  init: Init, key_b: Key, key_c: Key, hidden_size: int, forget_bias: float
) -> Array:
  """The biases of r, z, n; chrono sets the update gate, which keeps h where it is 1."""
  b = bias_gates(init.bias, key_b, hidden_size, 3)
  update = slice(hidden_size, 2 * hidden_size)
  if init.chrono is None:
    return b.at[update].add(forget_bias)
  return b.at[update].set(chrono_bias(key_c, hidden_size, init.chrono))
