"""State-space cells: a complex diagonal recurrence between two dense products.

Their factor is the same at every step. Real and imaginary parts lie side by side.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unroll.pairs import Pair, polar, times
from unroll.start import glorot
from unroll.types import Array, BadInput, Cell, Evaluation, Key, Linear

Output = Literal["linear", "gelu"]


class StateCarry(NamedTuple):
  """The state `h [B, N]`, complex."""

  h: Pair


class LRUParams(NamedTuple):
  """A linear recurrent unit of N states.

  `w_x [D, 2N]`, or `[D, 2N + H]` where D is not H: its last columns make x'. `w_y
  [2N, H]`, `skip [H]`, and logarithms `[N]`: `nu`, of the decay, `theta`, of the angle,
  `gamma`, of the factor of the input.
  """

  w_x: Array
  w_y: Array
  skip: Array
  nu: Array
  theta: Array
  gamma: Array


class S5Params(NamedTuple):
  """An S5 of N states.

  `w_x [D, 2N]`, or `[D, 2N + H]` where D is not H: its last columns make x'. `w_y
  [2N, H]`, `skip [H]`; of the eigenvalues `[N]` `decay`, the logarithm of their negated
  real part, and `angle`, the imaginary one; `step [N]`, the logarithm of a step's time.
  """

  w_x: Array
  w_y: Array
  skip: Array
  decay: Array
  angle: Array
  step: Array


def lru(
  input_size: int,
  hidden_size: int,
  *,
  states: int = 0,
  shortest: float = 0.0,
  longest: float = 1.0,
  phase: float = 6.283,
  output: Output = "gelu",
  evaluation: Evaluation = "auto",
) -> Cell:
  """The linear recurrent unit (Orvieto et al. 2023).

      λ   = exp(-exp(ν) + i exp(θ))
      h_t = λ ⊙ h_{t-1} + exp(γ) ⊙ (x W_x)
      y_t = f([Re h_t, Im h_t] W_y + s ⊙ x')

  x' is x, and a product of x where D is not H.

  Args:
    input_size: D.
    hidden_size: H, of the output.
    states: N; 0 for H.
    shortest: the smallest |λ| at the start, which are uniform in a ring.
    longest: the largest; 0 ≤ shortest < longest ≤ 1.
    phase: the largest angle of λ at the start.
    output: f: nothing, as in the paper's layer, or its GELU, so that layers of it are
      more than one.
    evaluation: how the recurrence runs, see `Linear`.

  Returns:
    The cell; its output is y_t.

  Raises:
    BadInput: if the ring is empty, or N is negative.
  """
  size = _states(states, hidden_size)
  if not 0 <= shortest < longest <= 1:
    raise BadInput(
      f"shortest={shortest:g} and longest={longest:g}: give 0 ≤ shortest < longest ≤ 1"
    )

  def new(key: Key) -> LRUParams:
    key, key_size, key_angle = jax.random.split(key, 3)
    squared = jax.random.uniform(
      key_size, (size,), jnp.float32, shortest**2, longest**2
    )
    # Neither 0 nor 1, of which there is no logarithm of a logarithm.
    nu = -0.5 * jnp.log(jnp.clip(squared, 1e-6, 1 - 1e-6))
    theta = jax.random.uniform(key_angle, (size,), jnp.float32, 1e-6, phase)
    w_x, w_y, skip = _ends(key, input_size, size, hidden_size)
    return LRUParams(
      *(w_x, w_y, skip),
      nu=jnp.log(nu),
      theta=jnp.log(theta),
      gamma=0.5 * jnp.log(-jnp.expm1(-2 * nu)),
    )

  def terms(params: LRUParams, before: tuple, z: Array):
    factor = polar(jnp.exp(-jnp.exp(params.nu)), jnp.exp(params.theta))
    read, scale = _read(z, size), jnp.exp(params.gamma)
    scale = jnp.broadcast_to(scale, read.re.shape).astype(z.dtype)
    return factor, Pair(scale * read.re, scale * read.im)

  return _cell(new, terms, size, output, evaluation)


def s5(
  input_size: int,
  hidden_size: int,
  *,
  states: int = 0,
  blocks: int = 1,
  shortest: float = 0.001,
  longest: float = 0.1,
  output: Output = "gelu",
  evaluation: Evaluation = "auto",
) -> Cell:
  """S5, a diagonal state space of many inputs and outputs (Smith et al. 2023).

      λ   = -exp(decay) + i angle,  Δ = exp(step)
      h_t = exp(λ Δ) ⊙ h_{t-1} + (exp(λ Δ) - 1) / λ ⊙ (x W_x)
      y_t = f([Re h_t, Im h_t] W_y + s ⊙ x')

  It starts from the eigenvalues of HiPPO-N; of two that are conjugates, one is kept. x'
  is x, and a product of x where D is not H.

  Args:
    input_size: D.
    hidden_size: H, of the output.
    states: N, of pairs of conjugates; 0 for H / 2.
    blocks: into which the states are cut, each with eigenvalues of its own HiPPO-N.
    shortest: the smallest Δ at the start, which are uniform in their logarithm.
    longest: the largest; 0 < shortest ≤ longest.
    output: f: nothing, or the paper's GELU, so that layers of it are more than one.
    evaluation: how the recurrence runs, see `Linear`.

  Returns:
    The cell; its output is y_t.

  Raises:
    BadInput: if N is negative or not divisible by the blocks, the times are not
      positive and in order.
  """
  size = _states(states, max(1, hidden_size // 2))
  if blocks < 1 or size % blocks:
    raise BadInput(f"blocks={blocks} do not divide {size} states: choose a divisor")
  if not 0 < shortest <= longest:
    raise BadInput(
      f"shortest={shortest:g} and longest={longest:g}: give 0 < shortest ≤ longest"
    )

  def new(key: Key) -> S5Params:
    key, key_step = jax.random.split(key)
    values, vectors = _hippo(2 * size // blocks)
    values, vectors = np.tile(values, blocks), np.kron(np.eye(blocks), vectors)
    ends = jnp.log(jnp.array([shortest, longest], jnp.float32))
    step = jax.random.uniform(key_step, (size,), jnp.float32, *ends)
    w_x, w_y, skip = _ends(key, input_size, size, hidden_size, vectors=vectors)
    decay, angle = (jnp.asarray(a, jnp.float32) for a in (-values.real, values.imag))
    return S5Params(*(w_x, w_y, skip), jnp.log(decay), angle, step)

  def terms(params: S5Params, before: tuple, z: Array):
    decay, step = jnp.exp(params.decay), jnp.exp(params.step)
    factor = polar(jnp.exp(-decay * step), params.angle * step)
    # (exp(λ Δ) - 1) / λ is (exp(λ Δ) - 1) λ̄ / |λ|².
    size_2 = decay**2 + params.angle**2
    held = times(
      Pair(factor.re - 1, factor.im), Pair(-decay / size_2, -params.angle / size_2)
    )
    read = _read(z, size)
    held = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, read.re.shape), held)
    return factor, times(held, read)

  return _cell(new, terms, size, output, evaluation)


def _cell(new, terms, size: int, output: Output, evaluation: Evaluation) -> Cell:
  """A cell of N complex states, from how it starts and what a step adds."""

  def carry(params, batch: int) -> StateCarry:
    zero = jnp.zeros((batch, size), params.skip.dtype)
    return StateCarry(Pair(zero, zero))

  def project(params, xs: Array) -> Array:
    zs = xs @ params.w_x
    return jnp.concatenate([zs, xs], axis=-1) if zs.shape[-1] == 2 * size else zs

  def read(params, before: StateCarry, after: StateCarry, z: Array) -> Array:
    y = jnp.concatenate([after.h.re, after.h.im], axis=-1) @ params.w_y
    x = z[..., 2 * size :]
    y = y + jnp.broadcast_to(params.skip, x.shape).astype(x.dtype) * x
    return jax.nn.gelu(y) if output == "gelu" else y

  linear = Linear((terms,), read, evaluation)
  return Cell(new, carry, project, linear.step, linear=linear)


def _ends(key: Key, input_size: int, size: int, hidden_size: int, vectors=None):
  """`w_x`, `w_y` and `skip`; matrices in the basis of eigenvectors, if given."""
  key_x, key_y, key_skip, key_more = jax.random.split(key, 4)
  if vectors is None:  # N complex numbers
    w_x = _normal(key_x, (input_size, 2 * size)) * (2 * input_size) ** -0.5
    c = _normal(key_y, (2, size, hidden_size)) * size**-0.5
    w_y = jnp.concatenate([c[0], -c[1]])
  else:  # 2N real inputs of the states, in N complex numbers
    real, imaginary = (
      jnp.asarray(part, jnp.float32) for part in (vectors.real, vectors.imag)
    )
    b = _normal(key_x, (input_size, 2 * size)) * input_size**-0.5
    w_x = jnp.concatenate([b @ real, -b @ imaginary], axis=-1)
    c = _normal(key_y, (2, 2 * size, hidden_size)) * (2 * size) ** -0.5
    seen = (real.T @ c[0] - imaginary.T @ c[1], real.T @ c[1] + imaginary.T @ c[0])
    w_y = 2 * jnp.concatenate([seen[0], -seen[1]])
  if input_size != hidden_size:
    more = glorot(key_more, (input_size, hidden_size), jnp.float32)
    w_x = jnp.concatenate([w_x, more], axis=-1)
  return w_x, w_y, _normal(key_skip, (hidden_size,))


def _normal(key: Key, shape: tuple[int, ...]) -> Array:
  return jax.random.normal(key, shape, jnp.float32)


def _hippo(size: int) -> tuple[np.ndarray, np.ndarray]:
  """HiPPO-N's eigenvalues `[N / 2]`, one of each two conjugates, and their vectors.

  The matrix is the normal part of HiPPO-LegS: -½ on its diagonal, and antisymmetric.
  """
  root = np.sqrt(2 * np.arange(size) + 1.0)
  lower = np.tril(np.outer(root, root), -1)
  antisymmetric = (lower.T - lower) / 2
  values, vectors = np.linalg.eigh(-1j * antisymmetric)
  half = size // 2
  return -0.5 + 1j * values[:half], vectors[:, :half]


def _read(z: Array, size: int) -> Pair:
  """What the input adds to N states."""
  return Pair(z[..., :size], z[..., size : 2 * size])


def _states(states: int, default: int) -> int:
  if states < 0:
    raise BadInput(f"states={states}: give 1 or more, or 0 for {default}")
  return states or default
