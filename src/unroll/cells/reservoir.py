"""The echo state network: a recurrent network that is drawn, not trained."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unroll.cells.dense import HiddenCarry
from unroll.linear import add_bias
from unroll.parameters import Frozen
from unroll.types import Array, BadInput, Cell, Key


class EchoStateParams(NamedTuple):
  """All `Frozen`: `w_x [D, H]`, `w_h [H, H]`, `b [H]`."""

  w_x: Frozen
  w_h: Frozen
  b: Frozen


def echo_state(
  input_size: int,
  hidden_size: int,
  *,
  radius: float = 0.9,
  leak: float = 1.0,
  density: float = 0.1,
  input_scale: float = 1.0,
  bias_scale: float = 0.0,
) -> Cell:
  """The echo state network of leaky units (Jaeger 2001; Jaeger et al. 2007).

      h_t = (1 - α) h_{t-1} + α tanh(x W + h_{t-1} U + b)

  Nothing of it is trained. What reads it is: by gradients, as any layer above, or at
  once by `ridge.solved`.

  Args:
    input_size: D.
    hidden_size: H.
    radius: the spectral radius of U, the largest |eigenvalue|; below 1 a reservoir of
      leak 1 forgets how it started.
    leak: α, above 0 up to 1.
    density: the share of U that is not 0.
    input_scale: W is uniform on ± it.
    bias_scale: b is uniform on ± it.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if a number is out of its range.
  """
  for name, value, good in (
    ("radius", radius, radius > 0),
    ("leak", leak, 0 < leak <= 1),
    ("density", density, 0 < density <= 1),
  ):
    if not good:
      most = "" if name == "radius" else " and up to 1"
      raise BadInput(f"{name}={value:g}: give a number above 0{most}")

  def new(key: Key) -> EchoStateParams:
    key_x, key_h, key_kept, key_b = jax.random.split(key, 4)
    shape = (hidden_size, hidden_size)
    w = jax.random.normal(key_h, shape, jnp.float32)
    w = jnp.where(jax.random.uniform(key_kept, shape) < density, w, 0.0)
    return EchoStateParams(
      w_x=Frozen(_uniform(key_x, (input_size, hidden_size), input_scale)),
      w_h=Frozen(w * (radius / _spectral_radius(w))),
      b=Frozen(_uniform(key_b, (hidden_size,), bias_scale)),
    )

  def carry(params: EchoStateParams, batch: int) -> HiddenCarry:
    return HiddenCarry(jnp.zeros((batch, hidden_size), params.b.value.dtype))

  def step(params: EchoStateParams, carry: HiddenCarry, z: Array):
    new = jnp.tanh(add_bias(z, params.b.value) + carry.h @ params.w_h.value)
    h = (1 - leak) * carry.h + leak * new
    return HiddenCarry(h), h

  return Cell(new, carry, lambda params, xs: xs @ params.w_x.value, step)


def _uniform(key: Key, shape: tuple[int, ...], bound: float) -> Array:
  return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def _spectral_radius(w: Array) -> Array:
  """By NumPy, as JAX has eigenvalues of such a matrix on some devices only.

  Of a matrix without eigenvalues but 0 it is 1: there is nothing to scale.
  """

  def largest(w: np.ndarray) -> np.ndarray:
    found = np.max(np.abs(np.linalg.eigvals(np.asarray(w, np.float64))), axis=-1)
    return np.where(found > 0, found, 1).astype(np.float32)

  shape = jax.ShapeDtypeStruct((), jnp.float32)
  return jax.pure_callback(largest, shape, w, vmap_method="expand_dims")
