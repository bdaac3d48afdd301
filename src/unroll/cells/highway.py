"""The recurrent highway network: several layers deep from one step to the next."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import HiddenCarry, Keep, dense, gate_bias
from unroll.linear import add_bias, squash
from unroll.start import Init, gates
from unroll.types import Array, BadInput, Cell, Key


class HighwayParams(NamedTuple):
  """`w_x [D, 2H]`; of each depth `w_h [H, 2H]` and `b [2H]`, in the order n, t."""

  w_x: Array
  w_h: tuple[Array, ...]
  b: tuple[Array, ...]


def rhn(
  input_size: int,
  hidden_size: int,
  *,
  depth: int = 3,
  forget_bias: float = 2.0,
  init: Init | None = None,
) -> Cell:
  """The recurrent highway network with coupled gates (Zilly et al. 2017).

      s ← h_{t-1}; for each depth, where x is read by the first alone:
        n = tanh(x W + s U + b)
        t = σ(x W + s U + b)
        s ← t ⊙ n + (1 - t) ⊙ s
      h_t = s

  Args:
    input_size: D.
    hidden_size: H.
    depth: of the recurrence, at least 1.
    forget_bias: taken from the bias of t at the start: where t is 0 the state is kept.
      The authors take 2 to 4. Chrono sets its own, at each depth.
    init: how parameters start; orthogonal recurrent blocks by default.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts, keep = init or Init(), Keep(1, forget_bias, closed=True)
  if depth < 1:
    raise BadInput(f"depth={depth}: a recurrent highway is at least 1 deep")

  def new(key: Key) -> HighwayParams:
    key_x, *keys = jax.random.split(key, 1 + 3 * depth)
    return HighwayParams(
      w_x=gates(starts.kernel, key_x, input_size, hidden_size, 2),
      w_h=tuple(
        gates(starts.recurrent, key, hidden_size, hidden_size, 2)
        for key in keys[:depth]
      ),
      b=tuple(
        gate_bias(*both, hidden_size, 2, starts, keep)
        for both in zip(keys[depth : 2 * depth], keys[2 * depth :])
      ),
    )

  def carry(params: HighwayParams, batch: int) -> HiddenCarry:
    return HiddenCarry(jnp.zeros((batch, hidden_size), params.b[0].dtype))

  def step(params: HighwayParams, carry: HiddenCarry, z: Array):
    s = carry.h
    for w_h, b in zip(params.w_h, params.b):
      z = add_bias(z, b) + s @ w_h
      n, t = jnp.split(squash(z, hidden_size, "ts"), 2, axis=-1)
      s = t * n + (1 - t) * s
      z = jnp.zeros_like(z)
    return HiddenCarry(s), s

  cell = dense(input_size, hidden_size, 2, step, init=init, keep=keep)
  return cell._replace(init=new, carry=carry)
