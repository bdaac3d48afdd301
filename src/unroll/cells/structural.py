"""The structurally constrained network: some units change slowly, and see no others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import refuse_chrono
from unroll.linear import add_bias
from unroll.start import Init, bias_gates, gates
from unroll.types import Array, BadInput, Cell, Key


class SCRNParams(NamedTuple):
  """`w_x [D, S + F]`, of the slow units first; `w_s [S, F]`, `w_h [F, F]`, `b [F]`."""

  w_x: Array
  w_s: Array
  w_h: Array
  b: Array


class SCRNCarry(NamedTuple):
  """The slow units `s [B, S]` and the others `h [B, F]`."""

  s: Array
  h: Array


def scrn(
  input_size: int,
  hidden_size: int,
  *,
  slow: int | None = None,
  alpha: float = 0.95,
  init: Init | None = None,
) -> Cell:
  """The structurally constrained recurrent network (Mikolov et al. 2015).

      s_t = (1 - α) x W_s + α s_{t-1}       a running mean of what was read
      h_t = σ(s_t P + x W_h + h_{t-1} U + b)
      y_t = [s_t, h_t]

  The authors' code reads s_{t-1} in h_t, and has no 1 - α.

  Args:
    input_size: D.
    hidden_size: H, of both kinds together, which are the output.
    slow: S, the slow units; a quarter of H, at least 1, by default.
    alpha: α, from 0 to 1.
    init: how parameters start; orthogonal `w_h` by default, `w_s` as an input matrix.

  Returns:
    The cell.
  """
  starts = init or Init()
  refuse_chrono(starts)
  s_size = max(hidden_size // 4, 1) if slow is None else slow
  f_size = hidden_size - s_size
  if s_size < 1 or f_size < 1:
    raise BadInput(
      f"slow={s_size} of {hidden_size} hidden units: give 1 to {hidden_size - 1}"
    )
  if not 0 <= alpha <= 1:
    raise BadInput(f"alpha={alpha}: give a share from 0 to 1")

  def new(key: Key) -> SCRNParams:
    keys = jax.random.split(key, 5)
    slow = gates(starts.kernel, keys[0], input_size, s_size, 1)
    fast = gates(starts.kernel, keys[1], input_size, f_size, 1)
    return SCRNParams(
      w_x=jnp.concatenate([slow, fast], axis=1),
      w_s=gates(starts.kernel, keys[2], s_size, f_size, 1),
      w_h=gates(starts.recurrent, keys[3], f_size, f_size, 1),
      b=bias_gates(starts.bias, keys[4], f_size, 1),
    )

  def carry(params: SCRNParams, batch: int) -> SCRNCarry:
    s, h = (jnp.zeros((batch, size), params.b.dtype) for size in (s_size, f_size))
    return SCRNCarry(s, h)

  def step(params: SCRNParams, carry: SCRNCarry, z: Array):
    z_s, z_h = jnp.split(z, [s_size], axis=-1)
    s = (1 - alpha) * z_s + alpha * carry.s
    z_h = add_bias(z_h, params.b) + s @ params.w_s + carry.h @ params.w_h
    h = jax.nn.sigmoid(z_h)
    return SCRNCarry(s, h), jnp.concatenate([s, h], axis=-1)

  return Cell(new, carry, lambda params, xs: xs @ params.w_x, step)
