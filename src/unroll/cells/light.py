"""The light GRU: no reset gate, ReLU, normalised inputs."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import DenseParams, HiddenCarry, Keep, dense
from unroll.cells.normalized import normalized
from unroll.linear import add_bias
from unroll.start import Init
from unroll.types import Array, Cell, Key


class LiGRUParams(NamedTuple):
  """`w_x [D, 2H]`, `w_h [H, 2H]`, `b [2H]` in the order z, n; `gain [2H]`."""

  w_x: Array
  w_h: Array
  b: Array
  gain: Array


def li_gru(
  input_size: int,
  hidden_size: int,
  *,
  norm: Literal["layer", "none"] = "layer",
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """The light gated recurrent unit (Ravanelli, Brakel, Omologo & Bengio 2018).

      z   = σ(LN(x W) + h U + b)
      n   = relu(LN(x W) + h U + b)
      h_t = z ⊙ h_{t-1} + (1 - z) ⊙ n

  The paper normalises x W over a batch and its steps, so that an output depends on the
  sequences beside it; here a step is normalised by itself, each gate over its H.

  Args:
    input_size: D.
    hidden_size: H.
    norm: layer, or none, for inputs that are normalised already.
    forget_bias: added to the bias of z at the start: where z is 1 the state is kept.
      Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default; gains at 1.

  Returns:
    The cell; its output y_t is h_t.
  """

  def more(params: DenseParams, key: Key) -> LiGRUParams:
    del key
    return LiGRUParams(*params, jnp.ones(2 * hidden_size))

  def project(params: LiGRUParams, xs: Array) -> Array:
    zs = xs @ params.w_x
    if norm == "layer":
      gates = zs.reshape(*zs.shape[:-1], 2, hidden_size)
      zs = normalized(gates).reshape(zs.shape)
    return zs * jnp.broadcast_to(params.gain, zs.shape).astype(zs.dtype)

  def step(params: LiGRUParams, carry: HiddenCarry, z: Array):
    z, n = jnp.split(add_bias(z, params.b) + carry.h @ params.w_h, 2, axis=-1)
    z = jax.nn.sigmoid(z)
    h = z * carry.h + (1 - z) * jax.nn.relu(n)
    return HiddenCarry(h), h

  cell = dense(
    *(input_size, hidden_size, 2, step),
    init=init,
    keep=Keep(0, forget_bias),
    more=more,
  )
  return cell._replace(project=project)
