"""The curvature of a loss, beside its Hessian written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from unroll import diagnose, scan
from unroll.cells.lstm import lstm
from unroll.cells.vanilla import vanilla
from unroll.types import Sums

T, B, D, H, N = 3, 2, 2, 2, 2
RATE = 0.3


def problem(make):
  """A loss of the outputs of a cell, its parameters, a carry, and pieces."""
  cell, draw = make(D, H), np.random.default_rng(0)
  start = cell.init(jax.random.key(0))
  params = jax.tree.map(lambda p: jnp.asarray(draw.normal(size=p.shape)), start)

  def loss(params, carry, piece):
    xs, ys, weight = piece
    carry, out = scan.unroll(cell, params, carry, xs)
    each = jnp.mean(jnp.square(out - ys), axis=-1) * weight
    total, count = (jnp.sum(part).astype(jnp.float32) for part in (each, weight))
    mean = jnp.sum(each) / jnp.maximum(jnp.sum(weight), 1)
    return mean, (carry, {"loss": Sums(total, count)})

  pieces = (
    draw.normal(size=(N, T, B, D)),
    draw.normal(size=(N, T, B, H)),
    (draw.random((N, T, B)) < 0.7).astype(np.float64),
  )
  return loss, params, cell.carry(params, B), jax.tree.map(jnp.asarray, pieces)


def whole(loss, form, carry, pieces):
  """The mean loss as a function of a vector, with the carries before pieces held."""

  def mean(flat):
    at, total, count = carry, 0.0, 0.0
    for piece in zip(*pieces):
      one, (at, _) = loss(form(flat), jax.lax.stop_gradient(at), piece)
      weight = jnp.sum(piece[-1])
      total, count = total + weight * one, count + weight
    return total / count

  return mean


@pytest.mark.slow
@pytest.mark.parametrize("make", [vanilla, lstm])
def test_curvature_is_that_of_the_hessian(make):
  with jax.enable_x64(True):
    loss, params, carry, pieces = problem(make)
    flat, form = ravel_pytree(params)
    mean = whole(loss, form, carry, pieces)
    take = jax.jit(lambda at: (mean(at), jax.grad(mean)(at), jax.hessian(mean)(at)))
    value, g, h = take(flat)
    found = jax.jit(
      lambda p: diagnose.curvature(loss, p, carry, pieces, jax.random.key(1), 300)
    )(params)
    size = np.linalg.norm(g)
    way = g / size
    np.testing.assert_allclose(found.loss, value, rtol=1e-6)
    np.testing.assert_allclose(found.norm, size, rtol=1e-10)
    np.testing.assert_allclose(found.along, way @ h @ way, rtol=1e-9)
    np.testing.assert_allclose(found.turned, np.linalg.norm(h @ way), rtol=1e-9)
    # Across: what is left of H at right angles to g, in the mean of all directions.
    rest = np.eye(flat.size) - np.outer(way, way)
    inside = rest @ h @ rest
    values = np.linalg.eigvalsh(inside)
    assert np.all((found.across >= values[0]) & (found.across <= values[-1]))
    error = np.std(found.across) / np.sqrt(300)
    assert abs(found.across.mean() - np.trace(inside) / (flat.size - 1)) < 4 * error
    squares = np.mean(found.turned_across**2)
    exact = np.trace(rest @ h @ h @ rest) / (flat.size - 1)
    assert abs(squares - exact) < 4 * np.std(found.turned_across**2) / np.sqrt(300)


@pytest.mark.parametrize("clip", [0.1, pytest.param(np.inf, marks=pytest.mark.slow)])
def test_a_descent_is_step_by_step(clip):
  with jax.enable_x64(True):
    loss, params, carry, pieces = problem(vanilla)
    found = jax.jit(lambda p: diagnose.descent(loss, p, carry, pieces, RATE, 3, clip))(
      params
    )
    at, form = ravel_pytree(params)
    take = jax.jit(jax.value_and_grad(whole(loss, form, carry, pieces)))
    for step in range(3):
      value, g = take(at)
      size = np.linalg.norm(g)
      change = -RATE * min(1.0, clip / size) * g
      length = np.linalg.norm(change)
      assert length <= RATE * clip * (1 + 1e-9)
      smooth = max(
        np.linalg.norm(take(at + share * change)[1] - g) / (share * length)
        for share in (0.25, 0.5, 0.75, 1)
      )
      np.testing.assert_allclose(found.losses[step], value, rtol=1e-6)
      np.testing.assert_allclose(found.norms[step], size, rtol=1e-9)
      np.testing.assert_allclose(found.lengths[step], length, rtol=1e-9)
      np.testing.assert_allclose(found.smoothness[step], smooth, rtol=1e-7)
      at = at + change


def test_a_quadratic_has_its_matrix_everywhere():
  """Smoothness along the way is |A d| / |d|, and descent at rate 1 / a arrives."""
  with jax.enable_x64(True):
    scales = jnp.array([1.0, 1.0, 5.0])

    def loss(params, carry, piece):
      value = jnp.sum(scales * jnp.square(params["w"])) / 2
      one = jnp.ones((), jnp.float32)
      return value, (carry, {"loss": Sums(value.astype(jnp.float32), one)})

    params, pieces = {"w": jnp.array([3.0, 0.0, 0.0])}, jnp.zeros((2, 1))
    found = diagnose.curvature(loss, params, (), pieces, jax.random.key(0), 50)
    np.testing.assert_allclose([found.along, found.turned], 1, rtol=1e-12)
    assert 1 < found.across.min() < found.across.max() <= 5
    way = diagnose.descent(loss, params, (), pieces, 0.5, 4)
    np.testing.assert_allclose(way.norms, 3 * 0.5 ** np.arange(4), rtol=1e-12)
    np.testing.assert_allclose(way.smoothness, 1, rtol=1e-12)
