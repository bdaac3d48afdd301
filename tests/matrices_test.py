"""Matrices side by side: what is solved or factorised of each, and its derivatives."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.linalg import solve_triangular
from tables import noise

from unroll.matrices import alone, each, unit_lower_solved


def solved(lower, right):
  """By LAPACK, a matrix at a time."""
  pairs = zip(
    lower.reshape(-1, *lower.shape[-2:]), right.reshape(-1, *right.shape[-2:])
  )
  each = [solve_triangular(a, b, lower=True, unit_diagonal=True) for a, b in pairs]
  return np.reshape(each, right.shape)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 31, 32, 33])
def test_a_unit_triangular_system_is_solved(size):
  lower, right = noise(1, 2, 3, size, size), noise(2, 2, 3, size, 4)
  found = jax.jit(unit_lower_solved)(lower / size, right)
  np.testing.assert_allclose(found, solved(lower / size, right), rtol=2e-5, atol=2e-5)


def test_equal_keys_lose_no_digit():
  """Whose powers are as large as 10⁸ where the inverse has ones alone."""
  lower, right = np.ones((32, 32), np.float32), noise(2, 32, 3)
  found = jax.jit(unit_lower_solved)(lower, right)
  np.testing.assert_allclose(found, solved(lower, right), rtol=1e-5, atol=1e-5)


def test_derivatives_are_those_of_the_system():
  lower, right = noise(1, 2, 6, 6), noise(2, 2, 6, 3)
  check_grads(
    unit_lower_solved, (lower / 4, right), order=2, modes=["fwd", "rev"], rtol=2e-2
  )
  upper = np.triu(np.ones((6, 6), bool))
  slope = jax.grad(lambda own: jnp.sum(unit_lower_solved(own, right) ** 2))(lower)
  assert not np.asarray(slope)[:, upper].any()


def test_each_matrix_is_taken_in_turn():
  some = noise(3, 4, 5, 3)
  turned, triangle = jax.jit(lambda own: each(jnp.linalg.qr, own))(some)
  np.testing.assert_allclose(turned @ triangle, some, rtol=1e-5, atol=1e-5)
  squares = jnp.swapaxes(some, 1, 2) @ some
  values, vectors = jax.jit(jax.vmap(alone(jnp.linalg.eigh)))(squares)
  back = vectors * values[:, None] @ jnp.swapaxes(vectors, 1, 2)
  np.testing.assert_allclose(back, squares, rtol=1e-4, atol=1e-4)


WIDE = """
import jax
from unroll import cells, scan

cell = cells.gated_delta(8, 370)
params = cell.init(jax.random.key(0))
xs = jax.random.normal(jax.random.key(1), (64, 32, 8))


@jax.jit
def slope(params):
  loss = lambda own: scan.unroll(cell, own, cell.carry(own, 32), xs)[1].sum()
  return jax.grad(loss)(params)


for _ in range(3):
  jax.block_until_ready(slope(params))
"""


@pytest.mark.slow
def test_a_gradient_waits_for_no_thread_that_it_holds():
  """jaxlib 0.10.2: batched LAPACK beside batched LAPACK never ends on two cores."""
  subprocess.run([sys.executable, "-c", WIDE], check=True, timeout=240)
