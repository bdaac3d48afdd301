"""The laws of adaptive truncation: what it measures, what it chooses, what it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients_test import CELL, KEY, batch, cut, loss, start
from tables import close, quick

from unroll import gradients, scan, states
from unroll.gradients.adaptive import norms_by_lag, reach_for
from unroll.types import BadInput


@pytest.mark.slow
def test_norms_by_lag_are_those_of_the_last_loss():
  params, carry = start()
  whole = batch(9)
  measured = quick(lambda *at: norms_by_lag(loss, *at, most=6))
  found = measured(params, carry, whole)
  for lag in (0, 3):
    first, second = cut(whole, 0, 8 - lag, 9)
    begun, _ = scan.unroll(CELL, params, carry, first.x)
    at = states.vector(begun)

    def last(change, begun=begun, second=second):
      moved, _ = scan.unroll(CELL, params, states.moved(begun, change), second.x[:-1])
      return loss(params, moved, cut(second, len(second.x) - 1, len(second.x))[0])[0]

    slope = jax.grad(last)(jnp.zeros_like(at))
    expected = np.mean(np.linalg.norm(slope, axis=-1))
    np.testing.assert_allclose(found[lag], expected, rtol=1e-5)


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("tolerance", [0.5, 0.1, 0.01])
def test_a_geometric_fade_has_the_reach_that_is_known(factor, tolerance):
  """K leaves out factor^K of all; the least that all can be lacks that of MAX twice."""
  norms = jnp.asarray(factor ** np.arange(256), jnp.float32)
  found = int(reach_for(norms, tolerance))
  left_out = factor ** np.arange(1, 257)
  enough = left_out < tolerance * (1 - 2 * left_out[-1])
  assert abs(found - (np.argmax(enough) + 1 if enough.any() else 256)) <= 1


def test_what_does_not_fade_is_reached_as_far_as_can_be():
  for norms in (jnp.ones(64), jnp.zeros(64)):
    assert reach_for(norms, 0.5) == 64


@pytest.mark.slow
@pytest.mark.parametrize(("tolerance", "level"), [(1e-9, 2), (1e9, 0)])
def test_it_is_the_truncation_that_it_chooses(tolerance, level):
  """And what is not reached is read, so that states and sums are the same."""
  params, carry = start()
  k1, most = 2, 8
  scheme = gradients.adaptive(tolerance, k1, most)
  assert scheme.chunks == gradients.Chunks(k1, most - k1)
  estimator = scheme.estimator(loss)
  estimate = jax.jit(estimator.estimate)
  memory = estimator.init(params, carry, batch(most))
  piece = batch(most)
  found = estimate(params, carry, memory, piece, KEY)
  assert found.memory.level == level and found.memory.updates == 1
  reach = k1 * 2**level
  wide = gradients.truncated(k1, most).estimator(loss).estimate
  before, late = cut(piece, 0, most - reach, most)
  at, _ = scan.unroll(CELL, params, carry, before.x)
  short = gradients.truncated(k1, reach).estimator(loss).estimate
  close(found.grads, short(params, at, (), late, KEY).grads, 1e-5)
  expected = wide(params, carry, (), piece, KEY)
  close((found.carry, found.sums), (expected.carry, expected.sums), 1e-5)


@pytest.mark.parametrize(
  "spec", ["adaptive:0.5", "adaptive:0.1,4", "adaptive:1e-1,4,8"]
)
def test_specs(spec):
  chunks = gradients.named_scheme(spec).chunks
  assert chunks.length in (4, 16) and chunks.overlap in (112, 28, 4)


@pytest.mark.parametrize(
  "spec",
  [
    *("adaptive", "adaptive:", "adaptive:0", "adaptive:nan", "adaptive:inf,0"),
    *("adaptive:0.1,4,12", "adaptive:0.1,4.5", "adaptive:0.1,4,8,16", "adaptive:a"),
  ],
)
def test_others_are_refused(spec):
  with pytest.raises(BadInput, match="give adaptive:TOLERANCE"):
    gradients.named_scheme(spec)
