"""Cells whose recurrent matrix is made of another one: antisymmetric, orthogonal."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unroll.cells.dense import DenseParams, HiddenCarry, carried, dense, refuse_chrono
from unroll.linear import add_bias
from unroll.start import Init, gates
from unroll.types import Array, BadInput, Cell, Key


class ExpRNNParams(NamedTuple):
  """`w_x [D, H]`; `skew [H (H - 1) / 2]`, what stands above the diagonal; `b [H]`."""

  w_x: Array
  skew: Array
  b: Array


def antisymmetric_rnn(
  input_size: int,
  hidden_size: int,
  *,
  gated: bool = False,
  step: float = 0.1,
  diffusion: float = 0.01,
  init: Init | None = None,
) -> Cell:
  """A stable differential equation, by Euler's method (Chang, Chen, Haber & Chi 2019).

      h_t = h_{t-1} + ε z ⊙ tanh(x W + h_{t-1} (U - Uᵀ - γ I) + b)

  Its z is 1, or with `gated` σ(x W_z + h_{t-1} (U - Uᵀ - γ I) + b_z).

  Args:
    input_size: D.
    hidden_size: H.
    gated: whether an update gate says how far a step goes; it shares U.
    step: ε, the time of a step.
    diffusion: γ, which keeps Euler's method stable.
    init: how parameters start; by default U is orthogonal, its entries of variance
      1 / H as in the paper.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if the step is not positive, or the diffusion negative.
  """
  if not step > 0 or diffusion < 0:
    raise BadInput(
      f"step={step:g}, diffusion={diffusion:g}: give a step above 0, and 0 or more"
    )
  count = 1 + gated

  def more(params: DenseParams, key: Key) -> DenseParams:
    return params._replace(w_h=params.w_h[:, :hidden_size])

  def prepare(params: DenseParams) -> DenseParams:
    w = params.w_h
    shift = diffusion * jnp.eye(hidden_size, dtype=w.dtype)
    return params._replace(w_h=w - w.T - shift)

  def moved(params: DenseParams, carry: HiddenCarry, z: Array):
    z, seen = add_bias(z, params.b), carry.h @ params.w_h
    if not gated:
      change = jnp.tanh(z + seen)
    else:
      new, gate = jnp.split(z, 2, axis=-1)
      change = jax.nn.sigmoid(gate + seen) * jnp.tanh(new + seen)
    h = carry.h + step * change
    return HiddenCarry(h), h

  cell = dense(*(input_size, hidden_size, count, moved), init=init, more=more)
  return cell._replace(prepare=prepare)


def exp_rnn(
  input_size: int,
  hidden_size: int,
  *,
  init: Init | None = None,
) -> Cell:
  """expRNN: an orthogonal recurrent matrix (Lezcano-Casado & Martínez-Rubio 2019).

      h_t = modrelu(x W + h_{t-1} exp(A - Aᵀ))
      modrelu(a) = sign(a) max(|a| + b, 0)

  A is what stands above the diagonal; the exponential is taken once a sequence, not
  once a step.

  Args:
    input_size: D.
    hidden_size: H.
    init: how W starts, as `kernel`. Blocks of A rotate two units by a uniform angle
      (Henaff, Szlam & LeCun 2016), and b is uniform on ±0.01.

  Returns:
    The cell; its output y_t is h_t.
  """
  starts = init or Init()
  refuse_chrono(starts)
  upper = np.triu_indices(hidden_size, 1)  # no JAX: that would look for devices

  def new(key: Key) -> ExpRNNParams:
    key_x, key_angle, key_b = jax.random.split(key, 3)
    bounds = (-jnp.pi, jnp.pi)
    angles = jax.random.uniform(key_angle, (hidden_size // 2,), jnp.float32, *bounds)
    first = 2 * jnp.arange(hidden_size // 2)
    blocks = jnp.zeros((hidden_size, hidden_size), jnp.float32)
    blocks = blocks.at[first, first + 1].set(angles)
    return ExpRNNParams(
      w_x=gates(starts.kernel, key_x, input_size, hidden_size, 1),
      skew=blocks[upper],
      b=jax.random.uniform(key_b, (hidden_size,), jnp.float32, -0.01, 0.01),
    )

  def prepare(params: ExpRNNParams) -> DenseParams:
    zero = jnp.zeros((hidden_size, hidden_size), params.skew.dtype)
    above = zero.at[upper].set(params.skew)
    return DenseParams(params.w_x, jax.scipy.linalg.expm(above - above.T), params.b)

  def step(params: DenseParams, carry: HiddenCarry, z: Array):
    a = z + carry.h @ params.w_h
    h = jnp.sign(a) * jax.nn.relu(add_bias(jnp.abs(a), params.b))
    return HiddenCarry(h), h

  return Cell(
    new,
    carried(hidden_size, HiddenCarry),
    lambda params, xs: xs @ params.w_x,
    step,
    prepare=prepare,
  )
