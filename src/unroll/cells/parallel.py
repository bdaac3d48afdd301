"""Cells whose gates read the input alone: their state is a linear recurrence.

All products stand before the recurrence, which is elementwise.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import HiddenCarry, Keep, carried, gate_bias
from unroll.linear import add_bias, squash
from unroll.start import Init, gates
from unroll.types import Array, Cell, Evaluation, Key, Linear


class ReadParams(NamedTuple):
  """`w_x [D, kH]`, `b [kH]`: k gates side by side, which read the input."""

  w_x: Array
  b: Array


class SRUParams(NamedTuple):
  """`w_x`, `b [2H]` of f and r; `v [2H]`, through which they see the memory.

  `w_x` is `[D, 3H]`, of f, r and what is read, and `[D, 4H]` where D is not H.
  """

  w_x: Array
  b: Array
  v: Array


class QRNNCarry(NamedTuple):
  """What the last input adds to the next gates, `[B, 3H]`; the memory `c [B, H]`."""

  before: Array
  c: Array


class MemoryCarry(NamedTuple):
  """The memory `c [B, H]`."""

  c: Array


def min_gru(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  evaluation: Evaluation = "auto",
  init: Init | None = None,
) -> Cell:
  """minGRU (Feng et al. 2024): a GRU whose gate does not see the state.

      z   = σ(x W + b)
      n   = g(x W + b), g(a) = a + ½ where a ≥ 0, else σ(a)
      h_t = (1 - z) ⊙ h_{t-1} + z ⊙ n

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: taken from the bias of z at the start: where z is 0 the state is kept.
      Chrono sets its own.
    evaluation: how the recurrence runs, see `Linear`.
    init: how parameters start.

  Returns:
    The cell; its output y_t is h_t, which stays above 0 from a carry that is.
  """

  def terms(params: ReadParams, before: tuple, z: Array):
    z, n = jnp.split(add_bias(z, params.b), 2, axis=-1)
    z = jax.nn.sigmoid(z)
    return 1 - z, z * _positive(n)

  linear = Linear((terms,), _hidden, evaluation)
  keep = Keep(0, forget_bias, closed=True)
  return _reading(input_size, hidden_size, 2, linear, init, keep)


def min_lstm(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float = 0.0,
  evaluation: Evaluation = "auto",
  init: Init | None = None,
) -> Cell:
  """minLSTM (Feng et al. 2024): an LSTM whose gates do not see the state.

      f, i = σ(x W + b)
      n    = g(x W + b), g(a) = a + ½ where a ≥ 0, else σ(a)
      h_t  = f / (f + i) ⊙ h_{t-1} + i / (f + i) ⊙ n

  Args:
    input_size: D.
    hidden_size: H.
    forget_bias: added to the bias of f at the start. Chrono sets its own.
    evaluation: how the recurrence runs, see `Linear`.
    init: how parameters start.

  Returns:
    The cell; its output y_t is h_t, which stays above 0 from a carry that is.
  """

  def terms(params: ReadParams, before: tuple, z: Array):
    f, i, n = jnp.split(add_bias(z, params.b), 3, axis=-1)
    # f / (f + i) is σ(log f - log i), and log σ(a) is -softplus(-a).
    kept = jax.nn.sigmoid(jax.nn.softplus(-i) - jax.nn.softplus(-f))
    return kept, (1 - kept) * _positive(n)

  linear = Linear((terms,), _hidden, evaluation)
  keep = Keep(0, forget_bias, input=1)
  return _reading(input_size, hidden_size, 3, linear, init, keep)


def qrnn(
  input_size: int,
  hidden_size: int,
  *,
  window: Literal["1", "2"] = "2",
  forget_bias: float = 0.0,
  evaluation: Evaluation = "auto",
  init: Init | None = None,
) -> Cell:
  """The quasi-recurrent network (Bradbury, Merity, Xiong & Socher 2017), fo-pooling.

      f, o = σ(x_t W + x_{t-1} V + b)
      n    = tanh(x_t W + x_{t-1} V + b)
      c_t  = f ⊙ c_{t-1} + (1 - f) ⊙ n
      h_t  = o ⊙ c_t

  What the authors' code calls F is 1 - f: it weighs n by it.

  Args:
    input_size: D.
    hidden_size: H.
    window: the inputs that gates read: x_t alone, or x_{t-1} too, of which the first
      step reads zeros.
    forget_bias: added to the bias of f at the start. Chrono sets its own.
    evaluation: how the recurrence runs, see `Linear`.
    init: how parameters start; W and V lie side by side in `w_x`.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts, keep, both = init or Init(), Keep(0, forget_bias), window == "2"

  def new(key: Key) -> ReadParams:
    key_x, key_b, key_c = jax.random.split(key, 3)
    return ReadParams(
      w_x=gates(starts.kernel, key_x, input_size, hidden_size, 6 if both else 3),
      b=gate_bias(key_b, key_c, hidden_size, 3, starts, keep),
    )

  def carry(params: ReadParams, batch: int) -> QRNNCarry | MemoryCarry:
    sizes = (3 * hidden_size, hidden_size)
    before, c = (jnp.zeros((batch, n), params.b.dtype) for n in sizes)
    return QRNNCarry(before, c) if both else MemoryCarry(c)

  def gated(params: ReadParams, before: tuple, z: Array) -> list[Array]:
    if both:
      z = z[..., : 3 * hidden_size] + before[0]
    return jnp.split(squash(add_bias(z, params.b), hidden_size, "sst"), 3, axis=-1)

  def delayed(params: ReadParams, before: tuple, z: Array):
    return jnp.zeros((), z.dtype), z[..., 3 * hidden_size :]

  def pooled(params: ReadParams, before: tuple, z: Array):
    f, _, n = gated(params, before, z)
    return f, (1 - f) * n

  def read(params: ReadParams, before: Any, after: Any, z: Array) -> Array:
    _, o, _ = gated(params, before, z)
    return o * after.c

  terms = (delayed, pooled) if both else (pooled,)
  linear = Linear(terms, read, evaluation)
  return Cell(
    new, carry, lambda params, xs: xs @ params.w_x, linear.step, linear=linear
  )


def sru(
  input_size: int,
  hidden_size: int,
  *,
  form: Literal["v1", "v2"] = "v2",
  forget_bias: float = 0.0,
  evaluation: Evaluation = "auto",
  init: Init | None = None,
) -> Cell:
  """The simple recurrent unit (Lei, Zhang, Wang, Dai & Artzi 2018).

      f   = σ(x W_f + v_f ⊙ c_{t-1} + b_f)
      c_t = f ⊙ c_{t-1} + (1 - f) ⊙ (x W)
      r   = σ(x W_r + v_r ⊙ c_{t-1} + b_r)
      h_t = r ⊙ c_t + (1 - r) ⊙ x'

  x' is √3 x, and a product of x where D is not H. In form v1, of the paper's first
  version, gates do not see the memory, r reads tanh(c_t), and x' is not scaled.

  Args:
    input_size: D.
    hidden_size: H.
    form: v1 or v2.
    forget_bias: added to b_f at the start. Chrono sets its own.
    evaluation: how the recurrence of form v1 runs, see `Linear`; v2 is a loop.
    init: how matrices and biases start; v starts uniform on ±√3 with deviation ½.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts, keep = init or Init(), Keep(0, forget_bias)
  same, sees = input_size == hidden_size, form == "v2"
  most = 3**0.5  # of v; and what x' is multiplied by

  def new(key: Key) -> SRUParams | ReadParams:
    key_x, key_b, key_c, key_v = jax.random.split(key, 4)
    count = 3 if same else 4
    w_x = gates(starts.kernel, key_x, input_size, hidden_size, count)
    b = gate_bias(key_b, key_c, hidden_size, 2, starts, keep)
    if not sees:
      return ReadParams(w_x, b)
    v = jax.random.uniform(key_v, (2 * hidden_size,), jnp.float32, -most, most)
    return SRUParams(w_x, b, v * 0.5**0.5)

  def project(params: Any, xs: Array) -> Array:
    zs = xs @ params.w_x
    return jnp.concatenate([zs, xs], axis=-1) if same else zs

  def gated(params: Any, both: Array) -> list[Array]:
    return jnp.split(squash(add_bias(both, params.b), hidden_size, "ss"), 2, axis=-1)

  def cut(z: Array) -> list[Array]:
    return jnp.split(z, [2 * hidden_size, 3 * hidden_size], axis=-1)

  def step(params: Any, carry: MemoryCarry, z: Array):
    both, new, x = cut(z)
    seen = jnp.concatenate([carry.c, carry.c], axis=-1)
    both = both + seen * jnp.broadcast_to(params.v, seen.shape).astype(seen.dtype)
    f, r = gated(params, both)
    c = f * carry.c + (1 - f) * new
    return MemoryCarry(c), r * c + (1 - r) * most * x

  def terms(params: Any, before: tuple, z: Array):
    both, new, _ = cut(z)
    f, _ = gated(params, both)
    return f, (1 - f) * new

  def read(params: Any, before: Any, after: MemoryCarry, z: Array) -> Array:
    both, _, x = cut(z)
    _, r = gated(params, both)
    return r * jnp.tanh(after.c) + (1 - r) * x

  start = carried(hidden_size, MemoryCarry)
  if sees:
    return Cell(new, start, project, step)
  linear = Linear((terms,), read, evaluation)
  return Cell(new, start, project, linear.step, linear=linear)


def _reading(
  input_size: int,
  hidden_size: int,
  count: int,
  linear: Linear,
  init: Init | None,
  keep: Keep,
) -> Cell:
  """A cell of h alone, all of whose gates read the input, side by side."""
  starts = init or Init()

  def new(key: Key) -> ReadParams:
    key_x, key_b, key_c = jax.random.split(key, 3)
    return ReadParams(
      w_x=gates(starts.kernel, key_x, input_size, hidden_size, count),
      b=gate_bias(key_b, key_c, hidden_size, count, starts, keep),
    )

  return Cell(
    new,
    carried(hidden_size, HiddenCarry),
    lambda params, xs: xs @ params.w_x,
    linear.step,
    linear=linear,
  )


def _hidden(params: Any, before: Any, after: HiddenCarry, z: Array) -> Array:
  """The output of a cell that shows its state."""
  return after.h


def _positive(a: Array) -> Array:
  return jnp.where(a >= 0, a + 0.5, jax.nn.sigmoid(a))
