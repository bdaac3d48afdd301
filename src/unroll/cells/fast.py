"""Cells with few parameters beside one matrix: FastRNN and FastGRNN."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, HiddenCarry, Keep, dense, gate_bias
from unroll.linear import add_bias
from unroll.start import Init
from unroll.types import Array, Cell, Key


class FastRNNParams(NamedTuple):
  """As of a vanilla cell; and `alpha`, `beta []`, before their sigmoid."""

  w_x: Array
  w_h: Array
  b: Array
  alpha: Array
  beta: Array


class FastGRNNParams(NamedTuple):
  """`w_x [D, H]`, `w_h [H, H]` that both gates share, `b [2H]`; `zeta`, `nu []`."""

  w_x: Array
  w_h: Array
  b: Array
  zeta: Array
  nu: Array


def fast_rnn(
  input_size: int,
  hidden_size: int,
  *,
  alpha: float = -3.0,
  beta: float = 3.0,
  init: Init | None = None,
) -> Cell:
  """FastRNN (Kusupati et al. 2018): a vanilla cell with two scalars around it.

      n   = tanh(x W + h U + b)
      h_t = σ(α) n + σ(β) h_{t-1}

  Args:
    input_size: D.
    hidden_size: H.
    alpha: where α starts, as in the authors' library.
    beta: where β starts.
    init: how parameters start; orthogonal `w_h` by default.

  Returns:
    The cell; its output y_t is h_t.
  """

  def more(params: DenseParams, key: Key) -> FastRNNParams:
    del key
    return FastRNNParams(*params, jnp.float32(alpha), jnp.float32(beta))

  def step(params: FastRNNParams, carry: HiddenCarry, z: Array):
    n = jnp.tanh(add_bias(z, params.b) + carry.h @ params.w_h)
    h = _share(params.alpha, n) * n + _share(params.beta, n) * carry.h
    return HiddenCarry(h), h

  return dense(input_size, hidden_size, 1, step, init=init, more=more)


def fast_grnn(
  input_size: int,
  hidden_size: int,
  *,
  zeta: float = 1.0,
  nu: float = -4.0,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """FastGRNN (Kusupati et al. 2018): gate and candidate share their matrices.

      a   = x W + h U
      z   = σ(a + b_z)
      n   = tanh(a + b_n)
      h_t = (σ(ζ) (1 - z) + σ(ν)) ⊙ n + z ⊙ h_{t-1}

  Args:
    input_size: D.
    hidden_size: H.
    zeta: where ζ starts, as in the authors' library, whose biases start at 1.
    nu: where ν starts.
    forget_bias: added to b_z at the start: where z is 1 the state is kept. Chrono sets
      its own.
    init: how parameters start; orthogonal `w_h` by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts, keep = init or Init(), Keep(0, forget_bias)

  def more(params: DenseParams, key: Key) -> FastGRNNParams:
    key_b, key_c = jax.random.split(key)
    b = gate_bias(key_b, key_c, hidden_size, 2, starts, keep)
    scalars = jnp.float32(zeta), jnp.float32(nu)
    return FastGRNNParams(params.w_x, params.w_h, b, *scalars)

  def step(params: FastGRNNParams, carry: HiddenCarry, z: Array):
    a, (b_z, b_n) = z + carry.h @ params.w_h, jnp.split(params.b, 2)
    z, n = jax.nn.sigmoid(add_bias(a, b_z)), jnp.tanh(add_bias(a, b_n))
    h = (_share(params.zeta, z) * (1 - z) + _share(params.nu, z)) * n + z * carry.h
    return HiddenCarry(h), h

  return dense(*(input_size, hidden_size, 1, step), init=init, keep=Keep(0), more=more)


def _share(scalar: Array, like: Array) -> Array:
  """σ of a scalar, in the shape and type of an array."""
  return jnp.broadcast_to(jax.nn.sigmoid(scalar), like.shape).astype(like.dtype)
