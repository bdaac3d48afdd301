"""The laws of `linear`: products and activations."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, noise, quick, same

from unroll import linear

SIZE = 16


@pytest.mark.parametrize("kinds", ["s", "t", "ss", "ssts", "tst"])
def test_squash_is_each_activation_on_its_slice(kinds):
  x = 3 * noise(0, 5, 2, SIZE * len(kinds))
  functions = {"s": jax.nn.sigmoid, "t": jnp.tanh}
  slices = np.split(x, len(kinds), axis=-1)
  expected = [functions[kind](part) for kind, part in zip(kinds, slices)]
  out = linear.squash(x, SIZE, kinds)
  np.testing.assert_allclose(out, np.concatenate(expected, -1), atol=1e-6)


def test_a_bias_is_added_to_every_row():
  z, b = noise(0, 2, 4), noise(2, 4)
  np.testing.assert_allclose(linear.add_bias(z, b), z + b[None], atol=1e-6)


def test_gradients_of_weights_and_bias_sum_over_time_and_batch():
  x, dz = noise(0, 5, 2, 3), noise(1, 5, 2, 4)
  for a, b in ((x, dz), (x[:, 0], dz[:, 0]), (x[:, :, None], dz[:, :, None])):
    expected = a.reshape(-1, 3).T @ b.reshape(-1, 4)
    found = linear.weight_gradient(a, b, np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    expected = b.reshape(-1, 4).sum(axis=0)
    found = linear.bias_gradient(b, np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 4, 32])
def test_a_copy_by_rows_is_the_transpose(monkeypatch, dtype, devices, rows):
  with jax.enable_x64(dtype == "float64"):
    w = jnp.asarray(noise(0, 30, 7), dtype)
    monkeypatch.setattr(linear, "SIZABLE", 0)
    monkeypatch.setattr(linear, "ROWS", rows)
    same(linear.transposed(w, devices), w.T)


@pytest.mark.parametrize("steps", [0, 1, 512])
def test_half_precision_products_of_gradients_sum_in_full(steps):
  x, dz = noise(0, steps, 9, 3), noise(1, steps, 9, 4)
  found = linear.weight_gradient(x, dz, jnp.bfloat16)
  assert found.dtype == jnp.bfloat16
  rounded = [np.asarray(jnp.asarray(a, jnp.bfloat16), np.float64) for a in (x, dz)]
  exact = np.einsum("tbn,tbm->nm", *rounded)
  # Half a unit in the last of 8 places, and the sums.
  assert np.all(np.abs(np.float64(found) - exact) <= 2.0**-8 * np.abs(exact) + 1e-4)


def test_a_product_sums_in_the_precision_of_its_input():
  x = jnp.ones((1, 4096), jnp.float32)
  w = jnp.full((4096, 1), 1 + 2**-7, jnp.bfloat16)
  out = linear.product(x, w)
  assert out.dtype == jnp.float32
  assert out[0, 0] == 4096 + 32  # bfloat16 has no 4128


# name -> (product, shape of x, shape of w): those by more than one matrix.
CONTRACTIONS = {
  "heads": (lambda x, w: linear.einsum("bhi,hij->bhj", x, w), (5, 2, 3), (2, 3, 4)),
  "image": (linear.convolution, (2, 4, 3, 2), (3, 3, 2, 5)),
  "sequence of images": (linear.convolution, (6, 2, 4, 3, 2), (3, 3, 2, 5)),
  "line": (linear.convolution, (2, 7, 2), (3, 2, 5)),
}


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_products_keep_the_type_of_the_weights_and_sum_in_that_of_the_input(name):
  multiply, *shapes = CONTRACTIONS[name]
  x, w = (noise(i, *shape) for i, shape in enumerate(shapes))
  half = jnp.asarray(w).astype("bfloat16")
  rounded = jnp.asarray(x).astype("bfloat16").astype("float32")
  y = multiply(x, half)
  assert y.dtype == np.float32
  np.testing.assert_allclose(y, multiply(rounded, half.astype("float32")), atol=1e-5)
  d_x, d_w = jax.grad(lambda *at: jnp.sum(jnp.sin(multiply(*at))), (0, 1))(x, half)
  assert (d_x.dtype, d_w.dtype) == (np.float32, jnp.bfloat16)


def test_a_convolution_is_a_sum_of_shifted_products():
  x, w = noise(1, 2, 6, 4, 3), noise(2, 3, 3, 3, 5)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  taps = [padded[:, i : i + 6, j : j + 4] @ w[i, j] for i in range(3) for j in range(3)]
  np.testing.assert_allclose(linear.convolution(x, w), sum(taps), atol=1e-5)
  whole = linear.convolution(noise(3, 4, 2, 6, 4, 3), w)
  np.testing.assert_allclose(
    whole[1], linear.convolution(noise(3, 4, 2, 6, 4, 3)[1], w), atol=1e-6
  )


@pytest.mark.parametrize(
  ("size", "width"),
  [((5,), 1), ((5,), 5), ((4, 3), 2), ((4, 3), 3), ((2, 3, 2), 2)],
)
def test_a_convolution_has_the_derivatives_of_that_of_jax(size, width):
  """Of both modes, and the second; also where one of the two is a constant."""
  kernel = (width,) * len(size)
  x, w = noise(1, 2, *size, 3), noise(2, *kernel, 3, 2)
  d_x, d_w = noise(3, *x.shape), noise(4, *w.shape)

  def told(convolve):
    def loss(x, w):
      return jnp.sum(jnp.sin(convolve(x, w)))

    def along(x, w):
      return jax.jvp(loss, (x, w), (d_x, d_w))[1]

    def all_of(x, w):
      alone = [
        jax.grad(loss, 1)(x, w),
        jax.jvp(lambda x: convolve(x, w), (x,), (d_x,))[1],
      ]
      both = [jax.grad(f, (0, 1))(x, w) for f in (loss, along)]
      return alone, both, along(x, w)

    return quick(all_of)(x, w)

  close(told(linear.convolution), told(linear._convolved.fun), 1e-5)


def test_no_gradient_of_a_convolution_is_a_convolution():
  """In a loop a CPU takes those two orders of magnitude slower than products."""
  x, w = noise(1, 2, 4, 3, 2), noise(2, 3, 3, 2, 5)
  _, pullback = jax.vjp(linear.convolution, x, w)
  program = str(jax.make_jaxpr(pullback)(noise(3, 2, 4, 3, 5)))
  assert "dot_general" in program and "conv_general" not in program


SPREAD = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import jax.numpy as jnp
from tables import noise
from unroll.devices import Spread
from unroll.linear import convolution
spread = Spread(2)
x, w = noise(1, 5, 4, 4, 3, 2), noise(2, 3, 3, 2, 5)
x, w = jax.device_put(x, spread.rows(x, 1)), jax.device_put(w, spread.whole)
take = jax.jit(jax.grad(lambda *at: jnp.sum(jnp.sin(convolution(*at))), (0, 1)))
text = take.lower(x, w).compile().as_text()
names = "all-gather", "all-to-all", "collective-permute", "reduce-scatter"
assert not any(f" {name}(" in text for name in names), text
assert take(x, w)[0].sharding.num_devices == 2
"""


def test_a_sequence_of_images_stays_where_its_batch_is():
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  subprocess.run([sys.executable, "-c", SPREAD], env=environment, check=True)


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (4, 2)])
def test_a_convolution_of_another_shape_is_refused(shape):
  with pytest.raises(
    ValueError, match=r"kernel of shape \(3, 3, 2, 5\): give it 3 axes"
  ):
    linear.convolution(noise(1, *shape), noise(2, 3, 3, 2, 5))


@pytest.mark.parametrize("outer", [quick, lambda f: f], ids=["jit", "eager"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_of_gradients_are_differentiated_over_many_networks(dtype, outer):
  """XLA has no product of bfloat16 for a CPU that reads its left factor transposed."""
  x, tangent, many = noise(0, 4, 2, 3), noise(1, 4, 2, 3), noise(2, 2, 4, 2, 4)

  def slope(x, tangent, many):
    def gradients(x):
      return jax.vmap(lambda dz: linear.weight_gradient(x, dz, dtype))(many)

    return jax.jvp(gradients, (x,), (tangent,))[1]

  expected = np.einsum("tbn,ktbm->knm", tangent, many)
  found = np.float64(outer(slope)(x, tangent, many))
  np.testing.assert_allclose(found, expected, rtol=0, atol=0.1)
