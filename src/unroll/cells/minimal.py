"""Cells of one gate: MGU in both forms, UGRNN, JANET, MinimalRNN."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, HiddenCarry, Keep, dense, gate_bias
from unroll.linear import add_bias, squash
from unroll.start import Init, bias_gates, gates
from unroll.types import Array, Cell, Key


class MGUParams(NamedTuple):
  """`w_x [D, 2H]`, `b [2H]` in the order f, n; `w_f`, `w_n [H, H]`."""

  w_x: Array
  w_f: Array
  w_n: Array
  b: Array


class MinimalParams(NamedTuple):
  """What is read: `w_x [D, H]`, `b_x [H]`; the gate: `w_z`, `w_h [H, H]`, `b [H]`."""

  w_x: Array
  b_x: Array
  w_z: Array
  w_h: Array
  b: Array


def mgu(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """The minimal gated unit (Zhou, Wu, Zhang & Zhou 2016).

      f   = σ(x W + h U + b)
      n   = tanh(x W + (f ⊙ h) U + b)
      h_t = (1 - f) ⊙ h_{t-1} + f ⊙ n

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: taken from the gate's bias at the start: where that gate is 0 the state
      is kept. Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """

  def more(params: DenseParams, key: Key) -> MGUParams:
    del key
    w_f, w_n = jnp.split(params.w_h, 2, axis=1)
    return MGUParams(params.w_x, w_f, w_n, params.b)

  def step(params: MGUParams, carry: HiddenCarry, z: Array):
    x_f, x_n = jnp.split(add_bias(z, params.b), 2, axis=-1)
    f = jax.nn.sigmoid(x_f + carry.h @ params.w_f)
    n = jnp.tanh(x_n + (f * carry.h) @ params.w_n)
    h = (1 - f) * carry.h + f * n
    return HiddenCarry(h), h

  return dense(
    *(input_size, hidden_size, 2, step),
    init=init,
    keep=Keep(0, forget_bias, closed=True),
    more=more,
  )


def mgu_reset_after(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """Flax's MGUCell, in which the gate means the opposite and comes after the product.

      f   = σ(x W + h U + b)
      n   = tanh(x W + f ⊙ (h U) + b)
      h_t = (1 - f) ⊙ n + f ⊙ h_{t-1}

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the gate's bias at the start: where that gate is 1 the state
      is kept. Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """

  def step(params: DenseParams, carry: HiddenCarry, z: Array):
    x_f, x_n = jnp.split(add_bias(z, params.b), 2, axis=-1)
    h_f, h_n = jnp.split(carry.h @ params.w_h, 2, axis=-1)
    f = jax.nn.sigmoid(x_f + h_f)
    n = jnp.tanh(x_n + f * h_n)
    h = (1 - f) * n + f * carry.h
    return HiddenCarry(h), h

  return dense(
    *(input_size, hidden_size, 2, step), init=init, keep=Keep(0, forget_bias)
  )


def ugrnn(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The update gate RNN (Collins, Sohl-Dickstein & Sussillo 2017).

      g   = σ(x W + h U + b)
      n   = tanh(x W + h U + b)
      h_t = g ⊙ h_{t-1} + (1 - g) ⊙ n

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the gate's bias at the start, as in tf.contrib: where that
      gate is 1 the state is kept. Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """

  def step(params: DenseParams, carry: HiddenCarry, z: Array):
    z = add_bias(z, params.b) + carry.h @ params.w_h
    g, n = jnp.split(squash(z, hidden_size, "st"), 2, axis=-1)
    h = g * carry.h + (1 - g) * n
    return HiddenCarry(h), h

  return dense(
    *(input_size, hidden_size, 2, step), init=init, keep=Keep(0, forget_bias)
  )


def janet(
  input_size: int,
  hidden_size: int,
  *,
  beta: float = 1.0,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """JANET: an LSTM with just its forget gate (van der Westhuizen & Lasenby 2018).

      s   = x W + h U + b
      n   = tanh(x W + h U + b)
      h_t = σ(s) ⊙ h_{t-1} + (1 - σ(s - β)) ⊙ n

  The paper starts it by chrono: `init=chrono:T_max`.

  Args:
    input_size: D.
    hidden_size: H.
    beta: β; above 0 it lets in more than it forgets.
    forget_bias: added to the gate's bias at the start. Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """

  def step(params: DenseParams, carry: HiddenCarry, z: Array):
    s, n = jnp.split(add_bias(z, params.b) + carry.h @ params.w_h, 2, axis=-1)
    h = jax.nn.sigmoid(s) * carry.h + jax.nn.sigmoid(beta - s) * jnp.tanh(n)
    return HiddenCarry(h), h

  return dense(
    *(input_size, hidden_size, 2, step), init=init, keep=Keep(0, forget_bias)
  )


def minimal_rnn(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """MinimalRNN (Chen 2017): the state is a mean of what was read.

      z   = tanh(x W_x + b_x)
      u   = σ(h U + z W_z + b)
      h_t = u ⊙ h_{t-1} + (1 - u) ⊙ z

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the gate's bias at the start: where that gate is 1 the state
      is kept. Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts = init or Init()

  def new(key: Key) -> MinimalParams:
    key_x, key_b, key_z, key_h, key_g, key_c = jax.random.split(key, 6)
    keep = Keep(0, forget_bias)
    return MinimalParams(
      w_x=gates(starts.kernel, key_x, input_size, hidden_size, 1),
      b_x=bias_gates(starts.bias, key_b, hidden_size, 1),
      w_z=gates(starts.recurrent, key_z, hidden_size, hidden_size, 1),
      w_h=gates(starts.recurrent, key_h, hidden_size, hidden_size, 1),
      b=gate_bias(key_g, key_c, hidden_size, 1, starts, keep),
    )

  def project(params: MinimalParams, xs: Array) -> Array:
    z = jnp.tanh(add_bias(xs @ params.w_x, params.b_x))
    return jnp.concatenate([z, z @ params.w_z], axis=-1)

  def step(params: MinimalParams, carry: HiddenCarry, zs: Array):
    z, z_u = jnp.split(zs, 2, axis=-1)
    u = jax.nn.sigmoid(add_bias(z_u, params.b) + carry.h @ params.w_h)
    h = u * carry.h + (1 - u) * z
    return HiddenCarry(h), h

  cell = dense(
    *(input_size, hidden_size, 1, step), init=init, keep=Keep(0, forget_bias)
  )
  return cell._replace(init=new, project=project)
