"""The laws of `diagnose`: gradients by lag, Lyapunov exponents, spectral radii."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, H

from unroll import cells, compose, diagnose, remat, scan, states
from unroll.types import BadInput

T, A = 12, 0.8


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


def noise(key, *shape):
  return jax.random.normal(jax.random.key(key), shape, jnp.float64)


def started(cell):
  params = jax.tree.map(lambda leaf: leaf.astype(float), cell.init(jax.random.key(1)))
  return params, cell.carry(params, B)


def rotating():
  """h_t = x_t W + A h_{t-1} Q, with Q orthogonal."""
  cell = cells.CELLS["linear_rnn"](D, H)
  params, carry = started(cell)
  turn = jnp.linalg.qr(noise(2, H, H))[0]
  return cell, params._replace(w_h=A * turn), carry


def norms(cell, params, carry, xs, plan=remat.NONE, **options):
  """The norms by lag of a loss of the last output; and its gradient to that output."""
  weights = noise(4, B, H)

  def loss(sinks):
    layer = diagnose.probed_layer(cell, sinks, plan)
    return jnp.sum(layer.unroll(params, carry, xs, **options)[1][-1] * weights)

  found = jax.jit(lambda: diagnose.norms_by_lag(loss, cell, params, *xs.shape[:2]))()
  return found, np.linalg.norm(weights, axis=-1)


def test_a_linear_network_forgets_at_its_rate():
  found, at_output = norms(*rotating(), noise(3, T, B, D))
  expected = A ** np.arange(1, T + 1)[:, None] * at_output
  np.testing.assert_allclose(found["h"], expected, rtol=1e-10)
  rate, half_life, memory = diagnose.decay(np.mean(found["h"], axis=1))
  np.testing.assert_allclose([rate, half_life], [A, np.log(2) / -np.log(A)])
  assert memory is None  # 0.8^11 is above 1 %
  assert diagnose.decay(A ** np.arange(40)).memory == 21
  assert diagnose.decay(np.zeros(4)).memory == 0  # nothing flows


@pytest.mark.parametrize("kind", ["lstm", "stack"])
def test_the_norms_are_those_of_gradients_by_hand(kind):
  """Of the loss, where the carry of a step is changed by hand."""
  lstm, gru = cells.lstm(D, H), cells.gru(D, H)
  cell = lstm if kind == "lstm" else compose.deep(gru, cells.lstm(H, H))
  names = {"lstm": ["c", "h"], "stack": ["layers/0/h", "layers/1/c", "layers/1/h"]}
  params, carry = started(cell)
  assert list(states.sizes(cell, params)) == names[kind]
  xs, at = noise(3, 5, B, D), 2

  @jax.jit
  @jax.grad
  def by_hand(ways):
    leaves, tree = jax.tree.flatten(scan.unroll(cell, params, carry, xs[:at])[0])
    own = [leaf + way for leaf, way in zip(leaves, ways)]
    own += leaves[len(ways) :]  # the count of a draw
    changed = jax.tree.unflatten(tree, own)
    return jnp.sum(jnp.sin(scan.unroll(cell, params, changed, xs[at:])[1][-1]))

  def loss(sinks):
    ys = diagnose.probed_layer(cell, sinks).unroll(params, carry, xs)[1]
    return jnp.sum(jnp.sin(ys[-1]))

  norms = jax.jit(jax.grad(loss))(diagnose.sinks(cell, params, 5, B))
  exact = by_hand([jnp.zeros((B, H))] * len(names[kind]))
  for number, slope in enumerate(exact):
    wanted = np.linalg.norm(slope, axis=-1)
    np.testing.assert_allclose(norms[at, :, number], wanted, rtol=1e-10)


def test_segments_that_are_computed_again_have_the_same_norms():
  cell = cells.lstm(D, H)
  params, carry = started(cell)
  xs = noise(3, T, B, D)
  whole, _ = norms(cell, params, carry, xs)
  cut, _ = norms(cell, params, carry, xs, remat.every(4))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12), whole, cut)


def test_a_probe_changes_nothing_and_takes_the_recorded_path():
  cell = cells.lstm(D, H)
  params, carry = started(cell)
  xs = noise(3, T, B, D)
  read = diagnose.with_sinks(xs, diagnose.sinks(cell, params, T, B))
  assert scan.path(diagnose.probed(cell), params, carry, read).name == "recorded"
  plain = scan.unroll(cell, params, carry, xs)
  probed = scan.unroll(diagnose.probed(cell), params, carry, read)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12), plain, probed)


def test_nothing_flows_through_a_reset():
  cell, params, carry = rotating()
  reset = jnp.zeros((T, B), bool).at[T - 4, 0].set(True)
  found, _ = norms(cell, params, carry, noise(3, T, B, D), reset=reset)
  assert np.all(found["h"][:4] > 0) and np.all(found["h"][4:, 1:] > 0)
  assert np.all(found["h"][4:, 0] == 0)


def test_the_exponents_of_linear_networks_are_known():
  cell, params, carry = rotating()
  xs = noise(3, T, B, D)
  found = diagnose.lyapunov(cell, params, carry, xs, H)
  np.testing.assert_allclose(found, np.full((B, H), np.log(A)), rtol=1e-10)
  same = diagnose.lyapunov(
    cell, params._replace(w_h=params.w_h / A), carry, xs, 2, settle=3
  )
  np.testing.assert_allclose(same, np.zeros((B, 2)), atol=1e-12)
  scales = jnp.linspace(0.9, 0.5, H)
  turned = noise(5, H, H)
  matrix = turned @ jnp.diag(scales) @ jnp.linalg.inv(turned)
  long = noise(3, 400, B, D)
  own = diagnose.lyapunov(cell, params._replace(w_h=matrix), carry, long, H, settle=200)
  np.testing.assert_allclose(own, jnp.tile(jnp.log(scales), (B, 1)), atol=1e-6)
  with pytest.raises(BadInput, match=f"this state has {H} numbers"):
    diagnose.lyapunov(cell, params, carry, xs, H + 1)


def test_exponents_are_those_of_the_product_of_jacobians():
  """By hand: the singular values of dcarry_T/dcarry_0, of a network in full."""
  cell = cells.gru(D, H)
  params, carry = started(cell)
  xs = noise(3, 3, B, D)
  last = jax.jit(lambda carry: scan.unroll(cell, params, carry, xs)[0].h[0])
  whole = jax.jacobian(last)(carry)
  _, volume = jnp.linalg.slogdet(whole.h[:, 0])
  # A step between them that is not valid is as if it were not there.
  padded = jnp.insert(xs, 1, 7.0, axis=0)
  valid = jnp.ones((4, B), bool).at[1].set(False)
  found = diagnose.lyapunov(cell, params, carry, padded, H, valid=valid)
  np.testing.assert_allclose(3 * jnp.sum(found[0]), volume, rtol=1e-9)


def test_spectral_radii_by_gate():
  cell, params, _ = rotating()
  np.testing.assert_allclose(diagnose.spectral_radii(cell, params, D)["w_h"], [A])
  lstm = cells.lstm(D, H)
  params, _ = started(lstm)
  gates = jnp.repeat(jnp.arange(1.0, 5.0), H)[None]
  scaled = params._replace(w_h=params.w_h * gates)
  found = diagnose.spectral_radii(lstm, scaled, D)
  np.testing.assert_allclose(found["w_h"], [1, 2, 3, 4], rtol=1e-6)
