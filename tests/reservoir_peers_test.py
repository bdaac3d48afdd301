"""Parity with reservoirpy 0.4.2: states, and a read-out in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import noise

from unroll import cells, ridge, scan
from unroll.cells.reservoir import EchoStateParams
from unroll.parameters import Frozen

pytestmark = pytest.mark.peers
D, H, B, T, K = 3, 40, 4, 50, 2


@pytest.fixture
def nodes():
  return pytest.importorskip("reservoirpy.nodes")


def dense(matrix):
  return np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix)


@pytest.mark.parametrize("leak", [1.0, 0.3])
@pytest.mark.parametrize("connectivity", [0.1, 1.0])
def test_the_states_of_a_reservoir(nodes, leak, connectivity):
  theirs = nodes.Reservoir(
    H, lr=leak, sr=0.9, rc_connectivity=connectivity, bias=0.2, seed=1
  )
  xs = noise(1, T, B, D)
  expected = theirs.run(np.swapaxes(xs, 0, 1).astype(np.float64))
  bias = np.broadcast_to(np.float64(dense(theirs.bias)).ravel(), (H,))
  cell = cells.echo_state(D, H, leak=leak)
  ours = (dense(theirs.Win).T, dense(theirs.W).T, bias)
  params = EchoStateParams(*(Frozen(jnp.asarray(w, jnp.float32)) for w in ours))
  _, ys = jax.jit(lambda xs: scan.unroll(cell, params, cell.carry(params, B), xs))(xs)
  np.testing.assert_allclose(np.swapaxes(ys, 0, 1), expected, 1e-4, 1e-5)


def test_a_read_out_with_a_washout(nodes):
  states, targets = noise(2, T, B, H), noise(3, T, B, K)
  theirs = nodes.Ridge(ridge=0.1).fit(
    np.swapaxes(states, 0, 1).astype(np.float64),
    np.swapaxes(targets, 0, 1).astype(np.float64),
    warmup=5,
  )
  valid = np.arange(T)[:, None] >= np.full(B, 5)
  kernel, bias = ridge.solved(ridge.moments(states, targets, valid), 0.1)
  np.testing.assert_allclose(kernel, theirs.Wout, 1e-3, 1e-4)
  np.testing.assert_allclose(bias, np.ravel(theirs.bias), 1e-3, 1e-4)
