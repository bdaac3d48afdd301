"""S4D: how it starts, and that its recurrence is the convolution of its paper."""

import jax
import numpy as np
from tables import B, D, H, noise, parameters, unroll

from unroll import cells


def test_it_is_a_convolution_by_its_kernel():
  """K_l = 2 Re Σ_n C_n (exp(A_n Δ) - 1) / A_n exp(A_n Δ l), from an empty state."""
  length, cell = 50, cells.s4d(H, H, states=8, output="linear")
  params = parameters(cell)
  xs = noise(3, length, B, H)
  _, ys = unroll(cell, params, cell.carry(params, B), xs)
  modes = params.modes.value
  a = -np.exp(modes.decay, dtype=np.float64) + 1j * np.asarray(modes.angle)
  c = np.asarray(modes.re) + 1j * np.asarray(modes.im)
  time = np.exp(params.step)[:, None]
  powers = np.exp(a * time * np.arange(length)[:, None, None])
  kernel = 2 * np.sum(c * (np.exp(a * time) - 1) / a * powers, axis=-1).real
  for row in range(B):
    for feature in range(H):
      x = xs[:, row, feature]
      y = np.convolve(kernel[:, feature], x)[:length] + params.skip[feature] * x
      np.testing.assert_allclose(ys[:, row, feature], y, rtol=1e-4, atol=1e-5)


def test_it_starts_as_s4d_lin():
  params = cells.s4d(D, 200, shortest=0.002, longest=0.05).init(jax.random.key(0))
  modes = params.modes.value
  np.testing.assert_allclose(-np.exp(modes.decay), -0.5, rtol=1e-6)
  np.testing.assert_allclose(modes.angle[7] / np.pi, np.arange(32), rtol=1e-6)
  size = np.mean(np.square(modes.re) + np.square(modes.im))
  np.testing.assert_allclose(size, 1, atol=0.05)
  time = np.exp(params.step)
  assert 0.002 <= np.min(time) < 0.003 and 0.033 < np.max(time) <= 0.05


def test_features_meet_in_the_gated_product_alone():
  xs = noise(3, 5, 1, H)
  moved = xs.copy()
  moved[:, :, 0] += 1
  for output, meet in (("linear", False), ("gelu", False), ("glu", True)):
    cell = cells.s4d(H, H, states=4, output=output)
    params = parameters(cell)
    one, other = (
      unroll(cell, params, cell.carry(params, 1), x)[1] for x in (xs, moved)
    )
    assert not np.array_equal(one[..., 0], other[..., 0])
    assert np.array_equal(one[..., 1:], other[..., 1:]) != meet
