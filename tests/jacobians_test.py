"""The laws of `diagnose.singular_values`: of products that no float holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, H

from unroll import cells, diagnose, scan
from unroll.types import BadInput


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


def noise(key, *shape):
  return jax.random.normal(jax.random.key(key), shape, jnp.float64)


def test_linear_networks_have_known_singular_values():
  """Of h_t = x_t W + h_{t-1} M."""
  cell = cells.CELLS["linear_rnn"](D, H)
  params = jax.tree.map(lambda leaf: leaf.astype(float), cell.init(jax.random.key(1)))
  xs, carry = noise(3, 400, B, D), cell.carry(params, B)

  def extremes(matrix, lags=(400,)):
    own = params._replace(w_h=matrix)
    return diagnose.singular_values(cell, own, carry, xs, lags)

  turn = jnp.linalg.qr(noise(2, H, H))[0]
  for found in extremes(turn):
    np.testing.assert_allclose(found, np.zeros((1, B)), atol=1e-12)
  for found in extremes(0.5 * jnp.eye(H)):
    np.testing.assert_allclose(found, np.full((1, B), 400 * np.log(0.5)))
  # Of a symmetric matrix, also where the smallest is a 10^-400th of the largest.
  values = jnp.linspace(1.0, 0.1, H)
  largest, smallest = extremes(turn @ jnp.diag(values) @ turn.T)
  np.testing.assert_allclose(largest, 0, atol=1e-10)
  np.testing.assert_allclose(smallest, 400 * np.log(0.1), rtol=1e-10)
  lost = extremes(jnp.diag(values.at[-1].set(0)))
  assert np.all(np.isneginf(lost.smallest)) and np.all(np.isfinite(lost.largest))
  with pytest.raises(BadInput, match=r"lags=3,2: give increasing numbers of 1 to 400"):
    extremes(turn, (3, 2))


@pytest.mark.slow
def test_they_are_those_of_the_whole_product():
  cell, steps = cells.gru(D, H), 4
  params = jax.tree.map(lambda leaf: leaf.astype(float), cell.init(jax.random.key(1)))
  carry, xs = cell.carry(params, B), noise(3, steps, B, D)

  def last(h):
    start = carry._replace(h=carry.h.at[0].set(h))
    return scan.unroll(cell, params, start, xs, backward="autodiff")[0].h[0]

  expected = np.linalg.svd(jax.jit(jax.jacobian(last))(carry.h[0]), compute_uv=False)
  largest, smallest = diagnose.singular_values(cell, params, carry, xs, (2, steps))
  found = [largest[-1, 0], smallest[-1, 0]]
  np.testing.assert_allclose(found, np.log(expected[[0, -1]]), rtol=1e-9)
