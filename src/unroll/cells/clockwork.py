"""The clockwork RNN, whose blocks of units step at periods of their own."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from unroll.cells.dense import DenseParams, dense
from unroll.linear import add_bias
from unroll.start import Init
from unroll.types import Array, BadInput, Cell, Noted

MOST = 24  # blocks: a float32 counts the steps of the slowest exactly


class ClockworkCarry(NamedTuple):
  """The state `h [B, H]`, and the number `t [B, 1]` of the step that comes."""

  h: Array
  t: Noted


def clockwork_rnn(
  input_size: int,
  hidden_size: int,
  *,
  blocks: int | None = None,
  init: Init | None = None,
) -> Cell:
  """The clockwork RNN (Koutník, Greff, Gomez & Schmidhuber 2014).

      h_t = tanh(x W + h_{t-1} U + b)   in blocks whose period divides t,
            h_{t-1}                     in others

  Block k = 0, 1, … has the period 2^k, and reads itself and those that are slower. The
  first step is number 0, in which every block steps. t starts afresh with each
  sequence, and after a period of the slowest block.

  Args:
    input_size: D.
    hidden_size: H.
    blocks: how many; as near to equal in size as H allows. By default 8, or H if that
      is less.
    init: how parameters start; U is drawn whole, and what no block reads is not used.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if there are more blocks than units, or too many to count their steps.
  """
  count = min(8, hidden_size) if blocks is None else blocks
  most = min(hidden_size, MOST)
  if not 1 <= count <= most:
    raise BadInput(f"blocks={count} of {hidden_size} hidden units: give 1 to {most}")
  sizes = [len(units) for units in np.array_split(np.arange(hidden_size), count)]
  periods = np.repeat(2.0 ** np.arange(count), sizes)
  reads = periods[:, None] >= periods  # of [from, to], as h is multiplied from the left

  def prepare(params: DenseParams) -> DenseParams:
    return params._replace(w_h=params.w_h * jnp.asarray(reads, params.w_h.dtype))

  def step(params: DenseParams, carry: ClockworkCarry, z: Array):
    new = jnp.tanh(add_bias(z, params.b) + carry.h @ params.w_h)
    # Rounded, as a start that is learned may be off a whole number.
    t = jnp.broadcast_to(jnp.round(carry.t.value), new.shape)
    due = t % jnp.broadcast_to(jnp.asarray(periods, t.dtype), t.shape) == 0
    h = jnp.where(due, new, carry.h)
    t = (carry.t.value + 1) % periods[-1]
    return ClockworkCarry(h, Noted(t)), h

  def carry(params: DenseParams, batch: int) -> ClockworkCarry:
    zero = jnp.zeros((batch, hidden_size), params.b.dtype)
    return ClockworkCarry(zero, Noted(zero[:, :1]))

  cell = dense(input_size, hidden_size, 1, step, init=init)
  return cell._replace(carry=carry, prepare=prepare)
