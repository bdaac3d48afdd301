"""mLSTM: an LSTM whose memory is a matrix, written and read by keys, without a loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import Keep, gate_bias
from unroll.cells.keyed import (
  NEVER,
  Evaluation,
  at_once,
  head_width,
  heads_first,
  span,
  steps_first,
  where_valid,
)
from unroll.linear import add_bias
from unroll.start import Init, gates
from unroll.types import Array, Cell, Chunk, Key

LEAST = -80.0  # of m in exp(-m), which is finite in float32 up to 88


class MLSTMParams(NamedTuple):
  """An mLSTM of d = H / heads.

  `w_x [D, 4H + 2 heads]`, of q, k, v, o, i and f; `b [4H]`, of the first four;
  `b_gates [2 heads]`, of i and f.
  """

  w_x: Array
  b: Array
  b_gates: Array


class MLSTMCarry(NamedTuple):
  """What is kept of each head.

  Memory `c [B, heads, d, d]`, keys by values, normaliser `n [B, heads, d]`, and the
  logarithm `m [B, heads]` of their scale.
  """

  c: Array
  n: Array
  m: Array


def mlstm(
  input_size: int,
  hidden_size: int,
  *,
  heads: int = 1,
  forget_bias: float = 3.0,
  evaluation: Evaluation = "auto",
  chunk: int = 32,
  init: Init | None = None,
) -> Cell:
  """The mLSTM of xLSTM (Beck et al. 2024), its forget gate a sigmoid.

      q, k, v, o, i, f = x W + b, k divided by √d; of each head
      m_t = max(log σ(f) + m_{t-1}, i)
      f', i' = exp(log σ(f) + m_{t-1} - m_t), exp(i - m_t)
      C_t = f' C_{t-1} + i' k vᵀ
      n_t = f' n_{t-1} + i' k
      h_t = σ(o) ⊙ (qᵀ C_t) / max(|n_t · q|, exp(-m_t))

  C and n stand for exp(m) times as much, and h is the paper's: its denominator is
  max(|n · q|, 1) of the whole n, so here its least is exp(-m), as in the xlstm and
  mlstm_kernels packages, which add 1e-6 to it. With max(|n · q|, 1) of the n that is
  kept, h would depend on the scale.

  Not in the cell are the rest of the paper's block: the wider projection around it, the
  convolution before q and k, the normalisation of each head, the skip connections.

  Args:
    input_size: D.
    hidden_size: H.
    heads: memories of H / heads keys and values each; 4 in the paper.
    forget_bias: added to the bias of f at the start, which the paper's code spreads
      over the heads from 3 to 6. Chrono sets its own, and the opposite for i.
    evaluation: whether a sequence is a loop of steps or of chunks, see `Chunk`.
    chunk: steps that are taken at once there.
    init: how parameters start.

  Returns:
    The cell; its output y_t is h_t, of all heads.

  Raises:
    BadInput: if the heads do not divide H, or a chunk has no step.
  """
  starts, keep = init or Init(), Keep(1, forget_bias, input=0)
  width = head_width(hidden_size, heads)

  def new(key: Key) -> MLSTMParams:
    key_x, key_gates, key_b, key_f, key_c = jax.random.split(key, 5)
    w_x = gates(starts.kernel, key_x, input_size, hidden_size, 4)
    w_gates = gates(starts.kernel, key_gates, input_size, heads, 2)
    return MLSTMParams(
      jnp.concatenate([w_x, w_gates], axis=-1),
      starts.bias(key_b, (4 * hidden_size,), jnp.float32),
      gate_bias(key_f, key_c, heads, 2, starts, keep),
    )

  def carry(params: MLSTMParams, batch: int) -> MLSTMCarry:
    shapes = ((width, width), (width,), ())
    return MLSTMCarry(*(jnp.zeros((batch, heads, *s), params.b.dtype) for s in shapes))

  def parts(params: MLSTMParams, z: Array):
    """q, k, v, o of each head, i and f, of one step or more."""
    wide = add_bias(z[..., : 4 * hidden_size], params.b)
    narrow = add_bias(z[..., 4 * hidden_size :], params.b_gates)
    wide = wide.reshape(*z.shape[:-1], 4, heads, width)
    q, k, v, o = (wide[..., number, :, :] for number in range(4))
    return q, k * width**-0.5, v, o, *jnp.split(narrow, 2, axis=-1)

  def step(params: MLSTMParams, carry: MLSTMCarry, z: Array):
    q, k, v, o, i, f = parts(params, z)
    kept = jax.nn.log_sigmoid(f) + carry.m
    m = jnp.maximum(kept, i)
    f, i = jnp.exp(kept - m), jnp.exp(i - m)
    c = f[..., None, None] * carry.c + jnp.einsum("bh,bhk,bhv->bhkv", i, k, v)
    n = f[..., None] * carry.n + i[..., None] * k
    found = jnp.einsum("bhk,bhkv->bhv", q, c)
    h = jax.nn.sigmoid(o) * found / least(jnp.sum(q * n, -1), m)[..., None]
    return MLSTMCarry(c, n, m), h.reshape(z.shape[0], hidden_size)

  def steps(params: MLSTMParams, carry: MLSTMCarry, initial, zs: Array, valid, reset):
    # With F_t = Σ log σ(f) and a_tj = F_t - F_j + i_j over the steps that t sees, what
    # is found is Σ_j exp(a_tj) (q_t · k_j) v_j and, of the carry, exp(b_t) q_t C; m_t
    # is the largest of these exponents.
    q, k, v, o, i, f = map(heads_first, parts(params, zs))
    f = where_valid(valid, jax.nn.log_sigmoid(f), 0)
    i = where_valid(valid, i, NEVER)
    own = span(len(zs), reset, carry, initial)
    total = own.total(f)
    a = own.between(total) + i[..., None, :]
    b = total + own.start(lambda held: held.m[..., None])
    m = jnp.maximum(b, jnp.max(a, axis=-1))
    a, b = jnp.exp(a - m[..., None]), jnp.exp(b - m)
    weights = a * jnp.einsum("bhtk,bhjk->bhtj", q, k)
    found = own.start(lambda held: jnp.einsum("bhtk,bhkv->bhtv", q, held.c))
    found = b[..., None] * found + jnp.einsum("bhtj,bhjv->bhtv", weights, v)
    size = own.start(lambda held: jnp.einsum("bhtk,bhk->bht", q, held.n))
    size = b * size + jnp.sum(weights, axis=-1)
    h = jax.nn.sigmoid(o) * found / least(size, m)[..., None]
    held, kept, written = own.end(), b[..., -1, None], a[..., -1, :, None] * k
    c = kept[..., None] * held.c + jnp.einsum("bhjk,bhjv->bhkv", written, v)
    n = kept * held.n + jnp.sum(written, axis=-2)
    return MLSTMCarry(c, n, m[..., -1]), steps_first(h)

  return Cell(
    *(new, carry, lambda params, xs: xs @ params.w_x, step),
    chunk=Chunk(steps, at_once(chunk), evaluation),
  )


def least(size: Array, m: Array) -> Array:
  """max(|size|, exp(-m)), finite."""
  return jnp.maximum(jnp.abs(size), jnp.exp(-jnp.maximum(m, LEAST)))
