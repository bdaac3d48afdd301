"""RG-LRU: a real diagonal recurrence whose decay and input are gated by the input."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import HiddenCarry, carried, refuse_chrono
from unroll.linear import add_bias, einsum
from unroll.start import Init, gates
from unroll.types import Array, BadInput, Cell, Evaluation, Key, Linear

SMALLEST = 1e-12  # of 1 - a², below which its root has no gradient


class RGLRUParams(NamedTuple):
  """The gates of an RG-LRU, and what makes x'.

  `w_x [D, H]`, None where D is H; `w_gates [heads, H / heads, 2 H / heads]`, of r and
  i; `b [2H]`; `decay [H]`.
  """

  w_x: Array | None
  w_gates: Array
  b: Array
  decay: Array


def rg_lru(
  input_size: int,
  hidden_size: int,
  *,
  heads: int = 1,
  shortest: float = 0.9,
  longest: float = 0.999,
  evaluation: Evaluation = "auto",
  init: Init | None = None,
) -> Cell:
  """The real-gated linear recurrent unit of Griffin (De et al. 2024).

      r, i = σ(x' W + b)
      a    = exp(-8 r ⊙ softplus(decay))
      h_t  = a ⊙ h_{t-1} + √(1 - a²) ⊙ i ⊙ x'

  x' is x, and a product of x where D is not H. RecurrentGemma's code leaves out the
  root at the first step of a sequence; the paper's equation, and this cell, do not.

  Args:
    input_size: D.
    hidden_size: H.
    heads: blocks of x', of which each has gates that read it alone.
    shortest: the smallest exp(-softplus(decay)) at the start.
    longest: the largest; 0 < shortest ≤ longest < 1. Squares are uniform.
    evaluation: how the recurrence runs, see `Linear`.
    init: how W starts (as `kernel`) and b.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if the heads do not divide H, or the range is empty.
  """
  starts = init or Init()
  refuse_chrono(starts)
  if heads < 1 or hidden_size % heads:
    raise BadInput(f"heads={heads} do not divide {hidden_size} units: choose a divisor")
  if not 0 < shortest <= longest < 1:
    raise BadInput(
      f"shortest={shortest:g} and longest={longest:g}: give 0 < shortest ≤ longest < 1"
    )
  width = hidden_size // heads

  def new(key: Key) -> RGLRUParams:
    key_x, key_gates, key_b, key_decay = jax.random.split(key, 4)
    blocks = [
      gates(starts.kernel, own, width, width, 2)
      for own in jax.random.split(key_gates, heads)
    ]
    ends = (shortest**2, longest**2)
    squared = jax.random.uniform(key_decay, (hidden_size,), jnp.float32, *ends)
    shape = (input_size, hidden_size)
    return RGLRUParams(
      None if input_size == hidden_size else starts.kernel(key_x, shape, jnp.float32),
      jnp.stack(blocks),
      starts.bias(key_b, (2 * hidden_size,), jnp.float32),
      decay=jnp.log(jnp.expm1(-0.5 * jnp.log(squared))),
    )

  def project(params: RGLRUParams, xs: Array) -> Array:
    xs = xs if params.w_x is None else xs @ params.w_x
    parts = xs.reshape(*xs.shape[:-1], heads, width)
    both = einsum("tbnd,ndm->tbnm", parts, params.w_gates)
    r, i = (
      part.reshape(xs.shape) for part in jnp.split(both, 2, axis=-1)
    )  # of all heads
    return jnp.concatenate([r, i, xs], axis=-1)

  def terms(params: RGLRUParams, before: tuple, z: Array):
    both, x = z[..., : 2 * hidden_size], z[..., 2 * hidden_size :]
    r, i = jnp.split(jax.nn.sigmoid(add_bias(both, params.b)), 2, axis=-1)
    decay = jnp.broadcast_to(jax.nn.softplus(params.decay), r.shape).astype(r.dtype)
    a = -8 * r * decay  # its logarithm
    scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * a), SMALLEST))
    return jnp.exp(a), scale * i * x

  linear = Linear((terms,), lambda params, before, after, z: after.h, evaluation)
  return Cell(
    new, carried(hidden_size, HiddenCarry), project, linear.step, linear=linear
  )
