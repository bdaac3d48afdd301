"""What dense cells share: gates side by side, a x = x W + h U + b, and their start."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll.start import Init, bias_gates, chrono_bias, gates
from unroll.types import Array, BadInput, Cell, Key


class DenseParams(NamedTuple):
  """`w_x [D, kH]`, `w_h [H, kH]`, `b [kH]`: k gates side by side."""

  w_x: Array
  w_h: Array
  b: Array


class HiddenCarry(NamedTuple):
  """The hidden state `h [B, H]`."""

  h: Array


class Keep(NamedTuple):
  """The gate that keeps the state, and how its bias starts.

  Attributes:
    gate: its number among the gates.
    bias: what is added to its bias, so that a new cell remembers.
    closed: whether it keeps the state where it is 0 instead of 1.
    input: the number of the gate that lets in what is new, where that is another one:
      chrono starts it at the opposite (Tallec & Ollivier 2018).
  """

  gate: int
  bias: float = 0.0
  closed: bool = False
  input: int | None = None


def dense(
  input_size: int,
  hidden_size: int,
  count: int,
  step: Callable[[Any, Any, Array], tuple[Any, Array]],
  *,
  init: Init | None,
  keep: Keep | None = None,
  carry: type = HiddenCarry,
  more: Callable[[DenseParams, Key], Any] = lambda params, key: params,
) -> Cell:
  """A cell of gates that are all projected alike, and its step.

  Args:
    input_size: D.
    hidden_size: H.
    count: k, the gates.
    step: see `Cell`; z is x W, without the bias.
    init: how parameters start; orthogonal recurrent blocks by default.
    keep: the gate that keeps the state; None: there is none.
    carry: the NamedTuple of its states `[B, H]`, which start at zero.
    more: makes the cell's parameters of the shared ones and a key.
  """
  init = init or Init()
  if keep is None:
    refuse_chrono(init)

  def new(key: Key) -> Any:
    key, own = jax.random.split(key)
    return more(dense_params(key, input_size, hidden_size, count, init, keep), own)

  return Cell(
    new, carried(hidden_size, carry), lambda params, xs: xs @ params.w_x, step
  )


def carried(hidden_size: int, carry: type) -> Callable[[Any, int], Any]:
  """What makes the carry of a cell: states `[B, H]` that start at zero."""

  def start(params: Any, batch: int) -> Any:
    zero = jnp.zeros((batch, hidden_size), params.b.dtype)
    return carry(*(zero for _ in carry._fields))  # type: ignore[attr-defined]

  return start


def refuse_chrono(init: Init) -> None:
  """Refuses a start of gates for a cell that has none."""
  if init.chrono is not None:
    raise BadInput("init=chrono needs a gated cell: choose cell=gru or cell=lstm")


def dense_params(
  key: Key,
  input_size: int,
  hidden_size: int,
  count: int,
  init: Init,
  keep: Keep | None = None,
) -> DenseParams:
  """The parameters of gates side by side."""
  key_x, key_h, key_b, key_c = jax.random.split(key, 4)
  return DenseParams(
    w_x=gates(init.kernel, key_x, input_size, hidden_size, count),
    w_h=gates(init.recurrent, key_h, hidden_size, hidden_size, count),
    b=gate_bias(key_b, key_c, hidden_size, count, init, keep),
  )


def gate_bias(
  key: Key, key_chrono: Key, size: int, count: int, init: Init, keep: Keep | None
) -> Array:
  """The biases of gates side by side; the one that keeps starts as `keep` says."""
  b = bias_gates(init.bias, key, size, count)
  if keep is None:
    return b
  b, sign = b.reshape(count, size), -1 if keep.closed else 1
  if init.chrono is None:
    return b.at[keep.gate].add(sign * keep.bias).ravel()
  memory = sign * chrono_bias(key_chrono, size, init.chrono)
  b = b.at[keep.gate].set(memory)
  return (b if keep.input is None else b.at[keep.input].set(-memory)).ravel()
