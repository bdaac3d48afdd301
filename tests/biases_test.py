"""How far gradients of schemes are from the full one: what is said of it."""

import numpy as np

from unroll.diagnose import bias

G = np.array([3.0, 4.0])


def test_what_is_exact_has_no_bias():
  assert bias([G], G) == (1, 0, 0)
  assert bias([0 * G], 0 * G) == (1, 0, 0)


def test_a_part_of_the_gradient():
  cosine, off, deviation = bias([[3.0, 0.0]], G)
  np.testing.assert_allclose([cosine, off, deviation], [0.6, 0.8, 0])


def test_the_share_of_chance_in_a_mean_is_no_bias():
  generator = np.random.default_rng(0)
  noise = generator.normal(0, 2, (2000, 2))
  cosine, off, deviation = bias(G + noise, G)
  assert off < 0.02 < deviation / np.sqrt(2000) * 2
  np.testing.assert_allclose(deviation, 2 * np.sqrt(2) / 5, rtol=0.05)
  assert cosine < 0.95
