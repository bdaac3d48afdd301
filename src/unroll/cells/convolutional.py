"""Cells whose products are convolutions: their state is a line, an image or a volume.

They take `xs [T, B, *size, C]`, and hand on `ys [T, B, *size, M]`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import Keep, gate_bias
from unroll.cells.gru import GRUCarry
from unroll.cells.lstm import LSTMCarry
from unroll.linear import add_bias, convolution, squash
from unroll.parameters import Elementwise
from unroll.start import Init, Initializer
from unroll.types import Array, BadInput, Cell, Key


class ConvLSTMParams(NamedTuple):
  """`w_x [*kernel, C, 4M]`, `w_h [*kernel, M, 4M]`, `b [4M]`; gates i, f, g, o.

  `peepholes [3, *size, M]`, of i, f and o, `Elementwise`; None without.
  """

  w_x: Array
  w_h: Array
  b: Array
  peepholes: Elementwise | None


class ConvGRUParams(NamedTuple):
  """`w_x [*kernel, C, 3M]`, `w_h [*kernel, M, 2M]`, `w_n [*kernel, M, M]`, `b [3M]`."""

  w_x: Array
  w_h: Array
  w_n: Array
  b: Array


def conv_lstm(
  shape: Sequence[int],
  channels: int,
  *,
  kernel: int = 3,
  peepholes: bool = False,
  forget_bias: float = 1.0,
  init: Init | None = None,
) -> Cell:
  """The ConvLSTM (Shi et al. 2015), without its peepholes as in Keras and Flax.

      i, f = σ(x * W + h * U + p ⊙ c_{t-1} + b)
      g    = tanh(x * W + h * U + b)
      c_t  = f ⊙ c_{t-1} + i ⊙ g
      o    = σ(x * W + h * U + p_o ⊙ c_t + b)
      h_t  = o ⊙ tanh(c_t)

  `*` is a convolution, its borders padded with zeros.

  Args:
    shape: of an input: its size in one dimension, two or three, and channels C.
    channels: M, of the state and of the output.
    kernel: the width of a kernel, in every dimension.
    peepholes: whether gates see the memory through maps `p [*size, M]`.
    forget_bias: added to the bias of f at the start. Chrono sets its own.
    init: how kernels and biases start; maps of peepholes start at zero.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if the shape has no size or more than three, or a number is below 1.
  """
  size, starts = _size(shape, channels, kernel), init or Init()
  keep = Keep(1, forget_bias, input=0)
  window = (kernel,) * len(size)

  def new(key: Key) -> ConvLSTMParams:
    key_x, key_h, key_b, key_c = jax.random.split(key, 4)
    maps = Elementwise(jnp.zeros((3, *size, channels), jnp.float32))
    return ConvLSTMParams(
      w_x=_kernels(starts.kernel, key_x, (*window, shape[-1], channels), 4),
      w_h=_kernels(starts.recurrent, key_h, (*window, channels, channels), 4),
      b=gate_bias(key_b, key_c, channels, 4, starts, keep),
      peepholes=maps if peepholes else None,
    )

  def carry(params: ConvLSTMParams, batch: int) -> LSTMCarry:
    zero = jnp.zeros((batch, *size, channels), params.b.dtype)
    return LSTMCarry(zero, zero)

  def step(params: ConvLSTMParams, carry: LSTMCarry, z: Array):
    z = add_bias(z + convolution(carry.h, params.w_h), params.b)
    if params.peepholes is None:
      i, f, g, o = jnp.split(squash(z, channels, "ssts"), 4, axis=-1)
      c = f * carry.c + i * g
      h = o * jnp.tanh(c)
      return LSTMCarry(c, h), h
    i, f, g, o = jnp.split(z, 4, axis=-1)
    p_i, p_f, p_o = (
      jnp.broadcast_to(p, i.shape).astype(i.dtype) for p in params.peepholes.value
    )
    i, f = jax.nn.sigmoid(i + p_i * carry.c), jax.nn.sigmoid(f + p_f * carry.c)
    c = f * carry.c + i * jnp.tanh(g)
    h = jax.nn.sigmoid(o + p_o * c) * jnp.tanh(c)
    return LSTMCarry(c, h), h

  return Cell(new, carry, lambda params, xs: convolution(xs, params.w_x), step)


def conv_gru(
  shape: Sequence[int],
  channels: int,
  *,
  kernel: int = 3,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """The convolutional GRU (Ballas, Yao, Pal & Courville 2016).

      r, z = σ(x * W + h * U + b)
      n    = tanh(x * W + (r ⊙ h) * U_n + b)
      h_t  = (1 - z) ⊙ n + z ⊙ h_{t-1}

  `*` is a convolution, its borders padded with zeros. In the paper z lets the new in
  where it is 1; here it keeps the old, as in `gru`.

  Args:
    shape: of an input: its size in one dimension, two or three, and channels C.
    channels: M, of the state and of the output.
    kernel: the width of a kernel, in every dimension.
    forget_bias: added to the bias of z at the start. Chrono sets its own.
    init: how kernels and biases start.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if the shape has no size or more than three, or a number is below 1.
  """
  size, starts = _size(shape, channels, kernel), init or Init()
  keep = Keep(1, forget_bias)
  window = (kernel,) * len(size)

  def new(key: Key) -> ConvGRUParams:
    key_x, key_h, key_n, key_b, key_c = jax.random.split(key, 5)
    own = (*window, channels, channels)
    return ConvGRUParams(
      w_x=_kernels(starts.kernel, key_x, (*window, shape[-1], channels), 3),
      w_h=_kernels(starts.recurrent, key_h, own, 2),
      w_n=_kernels(starts.recurrent, key_n, own, 1),
      b=gate_bias(key_b, key_c, channels, 3, starts, keep),
    )

  def carry(params: ConvGRUParams, batch: int) -> GRUCarry:
    return GRUCarry(jnp.zeros((batch, *size, channels), params.b.dtype))

  def step(params: ConvGRUParams, carry: GRUCarry, z: Array):
    both, new = jnp.split(add_bias(z, params.b), [2 * channels], axis=-1)
    both = squash(both + convolution(carry.h, params.w_h), channels, "ss")
    r, z = jnp.split(both, 2, axis=-1)
    n = jnp.tanh(new + convolution(r * carry.h, params.w_n))
    h = (1 - z) * n + z * carry.h
    return GRUCarry(h), h

  return Cell(new, carry, lambda params, xs: convolution(xs, params.w_x), step)


def _size(shape: Sequence[int], channels: int, kernel: int) -> tuple[int, ...]:
  """The size of an input, without its channels."""
  given = f"shape={tuple(shape)}, channels={channels} and kernel={kernel}"
  if not 2 <= len(shape) <= 4:
    raise BadInput(f"{given}: give a size in 1 to 3 dimensions, and channels")
  if min(*shape, channels, kernel) < 1:
    raise BadInput(f"{given}: every number is 1 or more")
  return tuple(shape[:-1])


def _kernels(init: Initializer, key: Key, shape: tuple[int, ...], count: int) -> Array:
  """Draws so many kernels, side by side in their last axis."""
  keys = jax.random.split(key, count)
  return jnp.concatenate([init(own, shape, jnp.float32) for own in keys], axis=-1)
