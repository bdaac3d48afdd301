"""Echo state networks: their start, and a read-out in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, close, noise

from unroll import cells, ridge, scan
from unroll.types import BadInput

H = 40


def states(cell, params, xs):
  return scan.unroll(cell, params, cell.carry(params, xs.shape[1]), xs)[1]


@pytest.mark.parametrize("radius", [0.5, 1.25])
def test_a_reservoir_has_the_spectral_radius_that_is_asked_for(radius):
  cell = cells.echo_state(D, H, radius=radius, density=0.2, input_scale=0.3)
  params = jax.jit(cell.init)(jax.random.key(1))
  found = np.abs(np.linalg.eigvals(np.asarray(params.w_h.value, np.float64)))
  np.testing.assert_allclose(found.max(), radius, rtol=1e-4)
  share = np.mean(params.w_h.value != 0)
  assert 0.15 < share < 0.25 and np.max(np.abs(params.w_x.value)) <= 0.3


@pytest.mark.slow
def test_many_reservoirs_are_one_program():
  cell = cells.echo_state(D, H)
  keys = jax.random.split(jax.random.key(2), 3)
  many, xs = jax.vmap(cell.init)(keys), noise(3, 20, B, D)
  found = jax.vmap(lambda params: states(cell, params, xs))(many)
  for i, key in enumerate(keys):
    close(found[i], states(cell, cell.init(key), xs), 1e-5)


def test_it_forgets_how_it_started():
  cell = cells.echo_state(D, H, radius=0.5)
  params, xs = cell.init(jax.random.key(0)), noise(3, 60, B, D)
  other = jax.tree.map(jnp.ones_like, cell.carry(params, B))
  close(scan.unroll(cell, params, other, xs)[1][-1], states(cell, params, xs)[-1], 1e-4)


def test_a_readout_is_that_of_least_squares():
  rng = np.random.default_rng(4)
  given, wanted = rng.normal(size=(30, B, 5)), rng.normal(size=(30, B, 2))
  valid = np.arange(30)[:, None] >= np.array([4] * B)  # a washout
  penalty = 0.7
  rows = np.concatenate([given, np.ones((30, B, 1))], axis=-1)[valid]
  # As rows of its own, the penalty makes it a least squares without one.
  more = np.sqrt(penalty) * np.eye(6)[:5]
  target = np.concatenate([wanted[valid], np.zeros((5, 2))])
  exact = np.linalg.lstsq(np.concatenate([rows, more]), target, rcond=None)[0]
  given[:4] = np.nan
  with jax.enable_x64(True):
    halves = [
      ridge.moments(given[part], wanted[part], valid[part])
      for part in (slice(0, 11), slice(11, 30))
    ]
    kernel, bias = ridge.solved(halves[0] + halves[1], penalty)
  np.testing.assert_allclose(kernel, exact[:5], rtol=1e-9)
  np.testing.assert_allclose(bias, exact[5], rtol=1e-9)


def test_a_reservoir_remembers():
  """The input of 5 steps before, which its read-out alone has to find."""
  cell = cells.echo_state(1, 100, radius=0.95, density=0.1, input_scale=0.1)
  params = cell.init(jax.random.key(0))
  xs = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (600, 1, 1)), jnp.float32)
  ys, wanted = states(cell, params, xs)[5:], xs[:-5]
  valid = (np.arange(595) >= 100)[:, None]
  kernel, bias = ridge.solved(ridge.moments(ys[:400], wanted[:400], valid[:400]), 1e-7)
  found = np.asarray(ys[400:] @ kernel) + np.asarray(bias)
  assert np.mean((found - wanted[400:]) ** 2) < 0.01 * np.var(wanted)


BAD = {
  "radius": ({"radius": 0}, "radius=0: give a number above 0$"),
  "leak": ({"leak": 1.5}, r"leak=1\.5: give a number above 0 and up to 1"),
  "density": ({"density": 0}, "density=0: give a number above 0 and up to 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_it_cannot_be_is_refused(name):
  options, said = BAD[name]
  with pytest.raises(BadInput, match=said):
    cells.echo_state(D, H, **options)
