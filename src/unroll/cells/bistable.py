"""Cells whose units can hold one of two states: BRC and nBRC."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import HiddenCarry, Keep, dense, gate_bias
from unroll.linear import add_bias
from unroll.start import Init, gates
from unroll.types import Array, Cell, Key


class BRCParams(NamedTuple):
  """`w_x [D, 3H]`, `b [3H]` in the order a, c, n; `w_a`, `w_c [H]`."""

  w_x: Array
  w_a: Array
  w_c: Array
  b: Array


class NBRCParams(NamedTuple):
  """`w_x [D, 3H]`, `b [3H]` in the order a, c, n; `w_h [H, 2H]` of a and c."""

  w_x: Array
  w_h: Array
  b: Array


def brc(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """The bistable recurrent cell (Vecoven, Ernst & Drion 2021): units see themselves.

      a   = 1 + tanh(x W + w_a ⊙ h + b)   above 1 the unit has two stable states
      c   = σ(x W + w_c ⊙ h + b)
      h_t = c ⊙ h_{t-1} + (1 - c) ⊙ tanh(x W + a ⊙ h_{t-1} + b)

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the bias of c at the start: where c is 1 the state is kept.
      Chrono sets its own.
    init: how parameters start; `w_a` and `w_c` start at 1, as the authors' do.

  Returns:
    The cell; its output y_t is h_t.
  """
  keep = Keep(1, forget_bias)

  def own(init: Init, key: Key) -> dict[str, Array]:
    del init, key
    return {"w_a": jnp.ones(hidden_size), "w_c": jnp.ones(hidden_size)}

  def remembered(params: BRCParams, h: Array) -> tuple[Array, Array]:
    return h * _row(params.w_a, h), h * _row(params.w_c, h)

  return _bistable(
    input_size, hidden_size, BRCParams, own, remembered, keep=keep, init=init
  )


def nbrc(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """The recurrently neuromodulated bistable cell (Vecoven, Ernst & Drion 2021).

      a   = 1 + tanh(x W + h U + b)
      c   = σ(x W + h U + b)
      h_t = c ⊙ h_{t-1} + (1 - c) ⊙ tanh(x W + a ⊙ h_{t-1} + b)

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the bias of c at the start: where c is 1 the state is kept.
      Chrono sets its own.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """

  def own(init: Init, key: Key) -> dict[str, Array]:
    return {"w_h": gates(init.recurrent, key, hidden_size, hidden_size, 2)}

  def remembered(params: NBRCParams, h: Array) -> tuple[Array, Array]:
    a, c = jnp.split(h @ params.w_h, 2, axis=-1)
    return a, c

  keep = Keep(1, forget_bias)
  return _bistable(
    input_size, hidden_size, NBRCParams, own, remembered, keep=keep, init=init
  )


def _bistable(
  input_size: int, hidden_size: int, kind, own, remembered, *, keep: Keep, init
) -> Cell:
  """Either cell: what a and c see of the state is all that differs."""
  starts = init or Init()

  def new(key: Key):
    key_x, key_h, key_b, key_c = jax.random.split(key, 4)
    return kind(
      w_x=gates(starts.kernel, key_x, input_size, hidden_size, 3),
      b=gate_bias(key_b, key_c, hidden_size, 3, starts, keep),
      **own(starts, key_h),
    )

  def step(params, carry: HiddenCarry, z: Array):
    z_a, z_c, z_n = jnp.split(add_bias(z, params.b), 3, axis=-1)
    h_a, h_c = remembered(params, carry.h)
    a, c = 1 + jnp.tanh(z_a + h_a), jax.nn.sigmoid(z_c + h_c)
    h = c * carry.h + (1 - c) * jnp.tanh(z_n + a * carry.h)
    return HiddenCarry(h), h

  cell = dense(input_size, hidden_size, 3, step, init=init, keep=keep)
  return cell._replace(init=new)


def _row(w: Array, h: Array) -> Array:
  return jnp.broadcast_to(w, h.shape).astype(h.dtype)
