"""Laws of the encoder of pictures: an independent one, and what reads of what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unroll.models.images import ImageEncoder, Images, grid, image_encoder
from unroll.types import BadInput


def drawn(seed, *shape):
  return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


MODEL = ImageEncoder(channels=(4, 6), width=5)
IMAGES = drawn(0, 3, 9, 8, 3)


@pytest.fixture(scope="module")
def params():
  made = MODEL.init(jax.random.key(0), IMAGES[:1])
  leaves, tree = jax.tree.flatten(made)
  random = np.random.default_rng(1)
  # Scales and shifts start as 1 and 0, which would hide them.
  return jax.tree.unflatten(
    tree,
    [leaf + 0.3 * random.standard_normal(leaf.shape).astype("f") for leaf in leaves],
  )


def by_hand(params, images):
  """The encoder in NumPy, place by place."""
  layers = jax.tree.map(np.asarray, params["params"])
  xs = images.astype(np.float64) / 127.5 - 1
  for n in range(2):
    conv, norm = layers[f"Conv_{n}"], layers[f"LayerNorm_{n}"]
    kernel, (batch, height, width, _) = conv["kernel"], xs.shape
    rows, columns = -(-height // 2), -(-width // 2)
    # As many more on the far side, where the number is odd.
    before = [
      max((-(-side // 2) - 1) * 2 + 4 - side, 0) // 2 for side in (height, width)
    ]
    padded = np.pad(xs, [(0, 0), (before[0], 3), (before[1], 3), (0, 0)])
    out = np.zeros((batch, rows, columns, kernel.shape[-1]))
    for i in range(rows):
      for j in range(columns):
        patch = padded[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
        out[:, i, j] = np.einsum("bhwc,hwcd->bd", patch, kernel) + conv["bias"]
    mean, variance = out.mean(-1, keepdims=True), out.var(-1, keepdims=True)
    out = (out - mean) / np.sqrt(variance + 1e-6) * norm["scale"] + norm["bias"]
    xs = np.maximum(out, 0)
  places = []
  height, width = xs.shape[1:3]
  for i in range(height):
    for j in range(width):
      where = [(2 * i + 1) / height - 1, (2 * j + 1) / width - 1]
      seen = xs[:, i, j] @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]
      places.append(seen + where @ layers["Dense_1"]["kernel"])
  return np.maximum(np.stack(places, axis=1), 0)


@pytest.mark.slow
def test_it_is_the_encoder_by_hand(params):
  found = MODEL.apply(params, IMAGES)
  assert found.shape == (3, 6, 5) and grid((9, 8), 2) == (3, 2)
  np.testing.assert_allclose(found, by_hand(params, IMAGES), rtol=1e-4, atol=1e-5)
  # Half precision is near.
  half = MODEL.clone(dtype=jnp.bfloat16).apply(params, IMAGES)
  assert half.dtype == jnp.float32
  np.testing.assert_allclose(half, found, atol=0.1)


@pytest.mark.slow
def test_no_picture_reads_another_and_each_knows_its_places(params):
  whole = MODEL.apply(params, IMAGES)
  other = IMAGES.copy()
  other[1:] = drawn(5, 2, 9, 8, 3)
  np.testing.assert_array_equal(MODEL.apply(params, other)[0], whole[0])
  plain = MODEL.apply(params, np.full((1, 32, 32, 3), 90, np.uint8))[0]
  inside = plain.reshape(8, 8, 5)[2:6, 2:6].reshape(16, 5)
  assert len(np.unique(np.round(inside, 4), axis=0)) == 16


def test_settings_make_an_encoder():
  model = image_encoder(Images(channels=(8, 8, 8), memory=12), 32)
  places = jax.eval_shape(model.init_with_output, jax.random.key(0), IMAGES)[0]
  assert places.shape == (3, 2 * 1, 12)
  with pytest.raises(BadInput, match="6 halvings leave one place of 32 pixels"):
    image_encoder(Images(channels=(8,) * 6), 32)
