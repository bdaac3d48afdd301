"""The gated delta rule: a matrix memory that replaces what it holds under a key."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import refuse_chrono
from unroll.cells.keyed import (
  Evaluation,
  at_once,
  head_width,
  heads_first,
  span,
  steps_first,
  where_valid,
)
from unroll.linear import add_bias
from unroll.matrices import unit_lower_solved
from unroll.start import Init, gates
from unroll.types import Array, BadInput, Cell, Chunk, Key

SMALLEST = 1e-6  # added to the square of a length that divides


class DeltaParams(NamedTuple):
  """A gated delta rule.

  `w_x [D, 3H + 2 heads]`, of q, k, v, β and α; `b [2 heads]`, of β and α; `decay
  [heads]`, the logarithm of what α's gate is multiplied by.
  """

  w_x: Array
  b: Array
  decay: Array


class DeltaCarry(NamedTuple):
  """The memory `s [B, heads, d, d]`, keys by values: the paper's S, transposed."""

  s: Array


def gated_delta(
  input_size: int,
  hidden_size: int,
  *,
  heads: int = 1,
  negative: bool = False,
  shortest: float = 0.001,
  longest: float = 0.1,
  evaluation: Evaluation = "auto",
  chunk: int = 32,
  init: Init | None = None,
) -> Cell:
  """The gated delta rule of Gated DeltaNet (Yang, Kautz & Hatamizadeh 2024).

      q, k, v = silu(x W), q and k divided by their length; of each head
      β   = σ(x W + b)
      α   = exp(-exp(decay) softplus(x W + b))
      S_t = α S_{t-1} (I - β k kᵀ) + β v kᵀ
      y_t = S_t q

  Not in the cell are the rest of the paper's block: the short convolutions before silu,
  the normalisation of each head, its gate and the product behind it. The fla package
  divides q by √d as well, as its default, which the paper does not and that
  normalisation takes out again; and it gives β no bias.

  Args:
    input_size: D.
    hidden_size: H.
    heads: memories of H / heads keys and values each.
    negative: β is in (0, 2) instead of (0, 1), so that a memory can change its sign
      (Grazzi et al. 2025).
    shortest: the smallest softplus(b) of α at the start, uniform in their logarithm.
    longest: the largest; 0 < shortest ≤ longest. exp(decay) starts uniform in (0, 16).
    evaluation: whether a sequence is a loop of steps or of chunks, see `Chunk`.
    chunk: steps that are taken at once there.
    init: how W starts (as `kernel`), and b of β.

  Returns:
    The cell; its output is y_t, of all heads.

  Raises:
    BadInput: if the heads do not divide H, the range is empty, or a chunk has no step.
  """
  starts = init or Init()
  refuse_chrono(starts)
  width = head_width(hidden_size, heads)
  if not 0 < shortest <= longest:
    raise BadInput(
      f"shortest={shortest:g} and longest={longest:g}: give 0 < shortest ≤ longest"
    )

  def new(key: Key) -> DeltaParams:
    key_x, key_gates, key_b, key_time, key_decay = jax.random.split(key, 5)
    w_x = gates(starts.kernel, key_x, input_size, hidden_size, 3)
    w_gates = gates(starts.kernel, key_gates, input_size, heads, 2)
    ends = (math.log(shortest), math.log(longest))
    time = jnp.exp(jax.random.uniform(key_time, (heads,), jnp.float32, *ends))
    # Not 0, of which there is no logarithm.
    decay = jax.random.uniform(key_decay, (heads,), jnp.float32, 1e-3, 16.0)
    b = (starts.bias(key_b, (heads,), jnp.float32), jnp.log(jnp.expm1(time)))
    return DeltaParams(
      jnp.concatenate([w_x, w_gates], axis=-1), jnp.concatenate(b), jnp.log(decay)
    )

  def carry(params: DeltaParams, batch: int) -> DeltaCarry:
    return DeltaCarry(jnp.zeros((batch, heads, width, width), params.b.dtype))

  def parts(params: DeltaParams, z: Array):
    """q, k, v of each head, β and log α, of one step or more."""
    wide = jax.nn.silu(z[..., : 3 * hidden_size])
    wide = wide.reshape(*z.shape[:-1], 3, heads, width)
    q, k, v = (wide[..., number, :, :] for number in range(3))
    both = add_bias(z[..., 3 * hidden_size :], params.b)
    beta, alpha = jnp.split(both, 2, axis=-1)
    beta, alpha = jax.nn.sigmoid(beta), jax.nn.softplus(alpha)
    decay = jnp.broadcast_to(jnp.exp(params.decay), alpha.shape).astype(alpha.dtype)
    return _unit(q), _unit(k), v, 2 * beta if negative else beta, -decay * alpha

  def step(params: DeltaParams, carry: DeltaCarry, z: Array):
    q, k, v, beta, alpha = parts(params, z)
    s = jnp.exp(alpha)[..., None, None] * carry.s
    # S (I - β k kᵀ) + β v kᵀ, transposed: k takes what it reads, and holds v instead.
    error = beta[..., None] * (v - jnp.einsum("bhk,bhkv->bhv", k, s))
    s = s + jnp.einsum("bhk,bhv->bhkv", k, error)
    y = jnp.einsum("bhk,bhkv->bhv", q, s)
    return DeltaCarry(s), y.reshape(z.shape[0], hidden_size)

  def steps(params: DeltaParams, carry: DeltaCarry, initial, zs: Array, valid, reset):
    # With u_t what k_t is given to hold, and a_tj the product of α after j up to t, S_t
    # is Σ_j a_tj u_j k_jᵀ and what is left of the carry. u_t is β times v_t less what
    # k_t finds of all that: a triangular system (the WY representation).
    q, k, v, beta, alpha = map(heads_first, parts(params, zs))
    beta, alpha = where_valid(valid, beta, 0), where_valid(valid, alpha, 0)
    own = span(len(zs), reset, carry, initial)
    total = own.total(alpha)
    a, left = jnp.exp(own.between(total)), jnp.exp(total)[..., None]

    def begun(read):
      found = own.start(lambda held: jnp.einsum("bhtk,bhkv->bhtv", read, held.s))
      return left * found

    alike = beta[..., None] * a * jnp.einsum("bhtk,bhjk->bhtj", k, k)
    u = _solved(alike, beta[..., None] * (v - begun(k)))
    weights = a * jnp.einsum("bhtk,bhjk->bhtj", q, k)
    y = begun(q) + jnp.einsum("bhtj,bhjv->bhtv", weights, u)
    s = left[..., -1:, :] * own.end().s
    s = s + jnp.einsum("bhjk,bhjv->bhkv", a[..., -1, :, None] * k, u)
    return DeltaCarry(s), steps_first(y)

  return Cell(
    *(new, carry, lambda params, xs: xs @ params.w_x, step),
    chunk=Chunk(steps, at_once(chunk), evaluation),
  )


def _unit(x: Array) -> Array:
  """Vectors divided by their length, and zero where that is."""
  return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + SMALLEST)


def _solved(lower: Array, right: Array) -> Array:
  """U of (I + L) U = R, in float32 at least."""
  wide = jnp.float32 if right.dtype.itemsize < 4 else right.dtype
  found = unit_lower_solved(lower.astype(wide), right.astype(wide))
  return found.astype(right.dtype)
