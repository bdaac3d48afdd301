"""S4D: every feature goes through a diagonal state space of its own."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.state_space import StateCarry
from unroll.linear import add_bias
from unroll.pairs import Pair, polar, times
from unroll.parameters import Elementwise
from unroll.start import gates, glorot
from unroll.types import Array, BadInput, Cell, Evaluation, Key, Linear


class Modes(NamedTuple):
  """The N/2 modes of each of H features, `[H, N/2]`.

  Of the eigenvalues `decay`, the logarithm of their negated real part, and `angle`,
  the imaginary one; `re` and `im` of C, which reads them.
  """

  decay: Array
  angle: Array
  re: Array
  im: Array


class S4DParams(NamedTuple):
  """An S4D of H features.

  `w_x [D, H]`, None where D is H; `modes`; `step [H]`, the logarithm of a step's time;
  `skip [H]`; `w_y [H, 2H]` and `b [2H]` of the gated product, None without it.
  """

  w_x: Array | None
  modes: Elementwise
  step: Array
  skip: Array
  w_y: Array | None
  b: Array | None


def s4d(
  input_size: int,
  hidden_size: int,
  *,
  states: int = 64,
  shortest: float = 0.001,
  longest: float = 0.1,
  output: Literal["linear", "gelu", "glu"] = "glu",
  evaluation: Evaluation = "auto",
) -> Cell:
  """S4D (Gu, Gupta, Goel & Ré 2022) from the S4D-Lin start, held by zero order.

      A   = -exp(decay) + i angle,  Δ = exp(step)
      h_t = exp(A Δ) ⊙ h_{t-1} + (exp(A Δ) - 1) / A ⊙ x'
      y_t = f(2 Re Σ_n C_n h_n + s ⊙ x')

  Each feature of x' has N/2 modes of its own, A = -½ + iπn at the start; the other N/2
  are their conjugates, hence the 2. B is 1, and is not trained. x' is x, and a product
  of x where D is not H. A carry is N numbers a feature, and training keeps that many
  for each step.

  In the cell are the state space, its skip connection and, with `output="glu"`, what
  the authors' layer has behind it: a GELU, a product by `w_y`, and one half of it gated
  by a sigmoid of the other. No other output lets features meet where D is H. Not in the
  cell are the block's residual connection, its normalisation and its dropout.

  Args:
    input_size: D.
    hidden_size: H, of the output.
    states: N, even.
    shortest: the smallest Δ at the start, which are uniform in their logarithm.
    longest: the largest; 0 < shortest ≤ longest.
    output: f: nothing, the GELU, or the GELU and the gated product.
    evaluation: how the recurrence runs, see `Linear`.

  Returns:
    The cell; its output is y_t.

  Raises:
    BadInput: if N is odd or not positive, or the times are not positive and in order.
  """
  if states < 2 or states % 2:
    raise BadInput(f"states={states}: give an even number, 2 or more")
  if not 0 < shortest <= longest:
    raise BadInput(
      f"shortest={shortest:g} and longest={longest:g}: give 0 < shortest ≤ longest"
    )
  shape = (hidden_size, states // 2)

  def new(key: Key) -> S4DParams:
    key_x, key_c, key_step, key_skip, key_y = jax.random.split(key, 5)
    angle = math.pi * jnp.arange(shape[1], dtype=jnp.float32)
    c = jax.random.normal(key_c, (2, *shape), jnp.float32) * 0.5**0.5
    modes = Modes(
      decay=jnp.full(shape, math.log(0.5), jnp.float32),
      angle=jnp.broadcast_to(angle, shape),
      re=c[0],
      im=c[1],
    )
    w_x, w_y, b = None, None, None
    if input_size != hidden_size:
      w_x = glorot(key_x, (input_size, hidden_size), jnp.float32)
    if output == "glu":
      w_y = gates(glorot, key_y, hidden_size, hidden_size, 2)
      b = jnp.zeros(2 * hidden_size, jnp.float32)
    ends = (math.log(shortest), math.log(longest))
    step = jax.random.uniform(key_step, (hidden_size,), jnp.float32, *ends)
    skip = jax.random.normal(key_skip, (hidden_size,), jnp.float32)
    return S4DParams(w_x, Elementwise(modes), step, skip, w_y, b)

  def carry(params: S4DParams, batch: int) -> StateCarry:
    zero = jnp.zeros((batch, *shape), params.skip.dtype)
    return StateCarry(Pair(zero, zero))

  def project(params: S4DParams, xs: Array) -> Array:
    return xs if params.w_x is None else xs @ params.w_x

  def terms(params: S4DParams, before: tuple, z: Array):
    modes = params.modes.value
    a = Pair(-jnp.exp(modes.decay), modes.angle)
    time = jnp.broadcast_to(jnp.exp(params.step)[:, None], shape)
    real, angle = a.re * time, a.im * time
    # exp(A Δ) - 1, exact for a small Δ too; to divide by A is to multiply by Ā / |A|².
    less = Pair(
      jnp.expm1(real) * jnp.cos(angle) - 2 * jnp.sin(angle / 2) ** 2,
      jnp.exp(real) * jnp.sin(angle),
    )
    size_2 = a.re**2 + a.im**2
    held = times(less, Pair(a.re / size_2, -a.im / size_2))
    factor = polar(jnp.exp(real), angle)
    return factor, jax.tree.map(lambda part: _each(z[..., None], part), held)

  def read(params: S4DParams, before: StateCarry, after: StateCarry, z: Array):
    modes, h = params.modes.value, after.h
    seen = _each(h.re, modes.re) - _each(h.im, modes.im)
    y = 2 * jnp.sum(seen, axis=-1) + _each(z, params.skip)
    if output == "linear":
      return y
    y = jax.nn.gelu(y)
    if params.w_y is None or params.b is None:
      return y
    y, gate = jnp.split(add_bias(y @ params.w_y, params.b), 2, axis=-1)
    return y * jax.nn.sigmoid(gate)

  linear = Linear((terms,), read, evaluation)
  return Cell(new, carry, project, linear.step, linear=linear)


def _each(rows: Array, one: Array) -> Array:
  """Their product, `one` being the same for every row of `rows [..., *one.shape]`."""
  shape = jnp.broadcast_shapes(rows.shape, (*rows.shape[: -one.ndim], *one.shape))
  return jnp.broadcast_to(rows, shape) * jnp.broadcast_to(one, shape).astype(rows.dtype)
