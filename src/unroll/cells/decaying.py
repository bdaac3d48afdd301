"""GRU-D: a GRU of inputs that may be missing, and that age."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import Keep, gate_bias
from unroll.cells.timing import features, parted, projected
from unroll.linear import add_bias, squash
from unroll.parameters import Frozen
from unroll.start import Init, bias_gates, gates
from unroll.types import Array, Cell, Key, Noted


class GRUDParams(NamedTuple):
  """`w_x [D, 3H]`, `w_m [D, 3H]`, `b [3H]` in the order r, z, n; `w_rz`, `w_n` of h.

  `w_rz [H, 2H]`, `w_n [H, H]`. The decay of inputs is of `d_x [D]`, `b_d_x [D]`, that
  of the state of `w_d [D, H]`, `b_d [H]`. `mean [D]` is `Frozen`, and starts at 0.
  """

  w_x: Array
  w_m: Array
  w_rz: Array
  w_n: Array
  b: Array
  d_x: Array
  b_d_x: Array
  w_d: Array
  b_d: Array
  mean: Frozen


class GRUDCarry(NamedTuple):
  """The state `h [B, H]`; of each input the last value seen, and its age, `[B, D]`."""

  h: Array
  last: Noted
  age: Noted


def gru_d(
  input_size: int,
  hidden_size: int,
  *,
  timed: bool = False,
  forget_bias: float = 0.0,
  init: Init | None = None,
) -> Cell:
  """GRU-D, of inputs that may be missing (Che, Purushotham, Cho, Sontag & Liu 2018).

      m    = 0 where x is NaN, else 1
      δ    = δ + dt                           since the input was seen
      γ, κ = exp(-relu(δ ⊙ d + b)), exp(-relu(δ W_d + b))
      x    = x where it was seen, else γ ⊙ last + (1 - γ) ⊙ mean
      h    = κ ⊙ h_{t-1}
      r, z = σ(x W + m V + h U + b)
      n    = tanh(x W + m V + (r ⊙ h) U + b)
      h_t  = (1 - z) ⊙ h + z ⊙ n

  Where x is seen it is the next `last`, and the next δ is 0. Before that the last is
  the mean. As the parameter `mean` is not trained, set it for inputs whose mean is not
  0: `params._replace(mean=Frozen(mean))`.

  Args:
    input_size: D.
    hidden_size: H.
    timed: whether the last input is dt, the time since the step before; else it is 1.
      It is never missing.
    forget_bias: taken from the bias of z at the start: a state is kept where z is 0.
    init: how parameters start; d and W_d as absolute values of the kernel's, so that
      every decay is one.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if there is no feature.
  """
  starts, read = init or Init(), features(input_size, timed)
  keep = Keep(1, forget_bias, closed=True)

  def new(key: Key) -> GRUDParams:
    keys = jax.random.split(key, 10)
    return GRUDParams(
      w_x=gates(starts.kernel, keys[0], read, hidden_size, 3),
      w_m=gates(starts.kernel, keys[1], read, hidden_size, 3),
      w_rz=gates(starts.recurrent, keys[2], hidden_size, hidden_size, 2),
      w_n=gates(starts.recurrent, keys[3], hidden_size, hidden_size, 1),
      b=gate_bias(keys[4], keys[5], hidden_size, 3, starts, keep),
      d_x=jnp.abs(gates(starts.kernel, keys[6], read, 1, 1))[:, 0],
      b_d_x=bias_gates(starts.bias, keys[7], read, 1),
      w_d=jnp.abs(gates(starts.kernel, keys[8], read, hidden_size, 1)),
      b_d=bias_gates(starts.bias, keys[9], hidden_size, 1),
      mean=Frozen(jnp.zeros(read, jnp.float32)),
    )

  def carry(params: GRUDParams, batch: int) -> GRUDCarry:
    zero = jnp.zeros((batch, hidden_size), params.b.dtype)
    mean = jax.lax.stop_gradient(params.mean.value).astype(zero.dtype)
    last = jnp.broadcast_to(mean, (batch, read))
    return GRUDCarry(zero, Noted(last), Noted(jnp.zeros_like(last)))

  def project(params: GRUDParams, xs: Array) -> Array:
    def marked(xs: Array) -> Array:
      missing = jnp.isnan(xs)
      m = (~missing).astype(xs.dtype)
      xs = jnp.where(missing, jnp.zeros_like(xs), xs)
      return jnp.concatenate([xs, m, m @ params.w_m], axis=-1)

    return projected(marked, xs, timed)

  def step(params: GRUDParams, carry: GRUDCarry, z: Array):
    z, dt = parted(z, timed)
    x, m, z = jnp.split(z, [read, 2 * read], axis=-1)
    age, last = carry.age.value + dt, carry.last.value
    rate = age * jnp.broadcast_to(params.d_x.astype(x.dtype), x.shape)
    fresh = _decay(add_bias(rate, params.b_d_x))
    mean = jnp.broadcast_to(params.mean.value.astype(x.dtype), x.shape)
    x = jnp.where(m > 0, x, fresh * last + (1 - fresh) * mean)
    h = _decay(add_bias(age @ params.w_d, params.b_d)) * carry.h
    z = add_bias(z + x @ params.w_x, params.b)
    rz = squash(z[..., : 2 * hidden_size] + h @ params.w_rz, hidden_size, "ss")
    r, update = jnp.split(rz, 2, axis=-1)
    n = jnp.tanh(z[..., 2 * hidden_size :] + (r * h) @ params.w_n)
    h = (1 - update) * h + update * n
    last, age = jnp.where(m > 0, x, last), jnp.where(m > 0, jnp.zeros_like(age), age)
    return GRUDCarry(h, Noted(last), Noted(age)), h

  return Cell(new, carry, project, step)


def _decay(rate: Array) -> Array:
  return jnp.exp(-jax.nn.relu(rate))
