"""The independently recurrent network: each unit sees itself alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import HiddenCarry, carried, refuse_chrono
from unroll.linear import add_bias
from unroll.start import Init, bias_gates, gates
from unroll.types import Array, BadInput, Cell, Key


class IndRNNParams(NamedTuple):
  """`w_x [D, H]`; `u`, `b [H]`."""

  w_x: Array
  u: Array
  b: Array


def indrnn(
  input_size: int,
  hidden_size: int,
  *,
  longest: int | None = None,
  init: Init | None = None,
) -> Cell:
  """The independently recurrent network (Li, Li, Cook, Zhu & Gao 2018).

      h_t = relu(x W + u ⊙ h_{t-1} + b)

  Args:
    input_size: D.
    hidden_size: H.
    longest: T of the sequences: |u| is then held to 2^(1/T) at most, as the authors do,
      so that no state grows beyond twice what was read. None: |u| is at most 1 at the
      start, and free afterwards.
    init: how `w_x` and `b` start; u starts uniform from 0 to its bound.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts = init or Init()
  refuse_chrono(starts)
  if longest is not None and longest < 1:
    raise BadInput(f"longest={longest}: give the steps of a sequence, 1 or more")
  bound = 1.0 if longest is None else 2 ** (1 / longest)

  def new(key: Key) -> IndRNNParams:
    key_x, key_u, key_b = jax.random.split(key, 3)
    return IndRNNParams(
      w_x=gates(starts.kernel, key_x, input_size, hidden_size, 1),
      u=jax.random.uniform(key_u, (hidden_size,), jnp.float32, 0, bound),
      b=bias_gates(starts.bias, key_b, hidden_size, 1),
    )

  def step(params: IndRNNParams, carry: HiddenCarry, z: Array):
    u = params.u if longest is None else jnp.clip(params.u, -bound, bound)
    kept = carry.h * jnp.broadcast_to(u, carry.h.shape).astype(carry.h.dtype)
    h = jax.nn.relu(add_bias(z, params.b) + kept)
    return HiddenCarry(h), h

  return Cell(
    new, carried(hidden_size, HiddenCarry), lambda params, xs: xs @ params.w_x, step
  )
