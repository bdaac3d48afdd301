"""Laws of the parts of models: what they compute and how it trains, in plain JAX."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, noise, same

from unroll.compose import no_draw
from unroll.models.parts import Embedding, Readout
from unroll.types import BadInput, seed

V, E, H, T, B = 7, 4, 5, 6, 3
TOKENS = np.random.default_rng(1).integers(V, size=(T, B), dtype=np.int32)
TARGETS = np.random.default_rng(2).integers(V, size=(T, B), dtype=np.int32)
WEIGHT = (noise(6, T, B) > 0).astype(np.float32)
DTYPES = [None, "float32", "bfloat16"]


class Bag(nn.Module):
  """The smallest model: what a readout makes of an embedding, without time."""

  width: int
  dtype: str | None = None
  tied: bool = False

  def setup(self):
    self.embed = Embedding(V, self.width)
    self.output = Readout(V, dtype=self.dtype, tied=self.tied)
    if self.tied:
      nn.share_scope(self, self.output)

  def _read(self):
    xs = self.embed(TOKENS).dense()
    return xs, self.output(xs.shape[-1], self.embed.table())

  def __call__(self):
    xs, head = self._read()
    return head.logits(xs)

  def nats(self, backward="fast"):
    xs, head = self._read()
    return head.cross_entropy(xs, TARGETS, WEIGHT, backward).total


def bag(width, dtype=None, tied=False):
  """A model, and parameters that differ at every position."""
  model = Bag(width, dtype, tied)
  shapes = model.init(jax.random.key(0))["params"]
  leaves, tree = jax.tree.flatten(shapes)
  drawn = [noise(number, *leaf.shape) for number, leaf in enumerate(leaves, 1)]
  return model, jax.tree.unflatten(tree, drawn)


def plain_logits(params, width, dtype, tied):
  """The same in plain JAX: rows of a table times a matrix, plus a bias."""
  table = params["embed"]["embedding"] if width else jnp.eye(V)
  kernel = table.T if tied else params["output"]["kernel"]
  bias = params["output_bias"] if tied else params["output"]["bias"]
  kernel = kernel.astype(dtype or "float32")
  rows = table[TOKENS].astype(kernel.dtype).astype("float32")
  return rows @ kernel.astype("float32") + bias[None, None]


def plain_nats(*given):
  log_p = jax.nn.log_softmax(plain_logits(*given))
  return -jnp.sum(WEIGHT * jnp.take_along_axis(log_p, TARGETS[..., None], -1)[..., 0])


KINDS = [
  pytest.param(width, dtype, tied, id=f"{name}-{dtype}")
  for (name, width, tied), dtype in itertools.product(
    [("own", E, False), ("tied", E, True), ("one-hot", 0, False)], DTYPES
  )
]


@pytest.mark.parametrize("width, dtype, tied", KINDS)
def test_logits_are_a_row_of_the_table_times_the_matrix(width, dtype, tied):
  model, params = bag(width, dtype, tied)
  logits = model.apply({"params": params})
  assert logits.dtype == jnp.float32
  close(logits, plain_logits(params, width, dtype, tied), 1e-5)


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
@pytest.mark.parametrize("width, dtype, tied", KINDS)
def test_gradients_are_those_of_plain_jax(width, dtype, tied, backward):
  model, params = bag(width, dtype, tied)

  def nats(params):
    return model.apply({"params": params}, backward, method="nats")

  value, grads = jax.value_and_grad(nats)(params)
  wanted, exact = jax.value_and_grad(plain_nats)(params, width, dtype, tied)
  np.testing.assert_allclose(value, wanted, rtol=1e-5)
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(grads))
  close(grads, exact, 0.05 if dtype == "bfloat16" else 1e-5)


@pytest.mark.parametrize(
  "width, tied, shapes",
  [
    (
      E,
      False,
      {"embed/embedding": (V, E), "output/bias": (V,), "output/kernel": (E, V)},
    ),
    (E, True, {"embed/embedding": (V, E), "output_bias": (V,)}),
    (0, False, {"output/bias": (V,), "output/kernel": (V, V)}),
  ],
)
def test_parameters_have_the_names_of_the_parts(width, tied, shapes):
  _, params = bag(width, tied=tied)
  paths = jax.tree.leaves_with_path(params)
  found = {"/".join(key.key for key in path): leaf.shape for path, leaf in paths}
  assert found == shapes


def test_a_table_starts_like_one_of_flax():
  ours, flaxes = Embedding(1000, 50), nn.Embed(1000, 50)
  table = ours.init(jax.random.key(3), TOKENS)
  same(table, flaxes.init(jax.random.key(3), TOKENS))
  np.testing.assert_allclose(np.std(table["params"]["embedding"]), 50**-0.5, rtol=0.02)


def test_a_vector_is_a_row_of_the_table():
  model, params = Embedding(V, E), {"params": {"embedding": noise(4, V, E)}}
  xs = model.apply(params, TOKENS)
  assert xs.shape == (T, B, E)
  same(xs.dense(), params["params"]["embedding"][TOKENS])
  one_hot = Embedding(V, 0).apply({}, TOKENS)
  same(one_hot.dense(), np.eye(V, dtype=np.float32)[TOKENS])


def test_scaled_vectors_are_the_table_times_the_root_of_its_width():
  plain, scaled = Embedding(V, E), Embedding(V, E, scaled=True)
  params = scaled.init(jax.random.key(0), TOKENS)
  vectors = scaled.apply(params, TOKENS).dense()
  close(vectors, plain.apply(params, TOKENS).dense() * np.float32(np.sqrt(E)), 1e-6)
  table = scaled.apply(params, method="table")
  same(table, plain.apply(params, method="table"))


@pytest.mark.parametrize("width", [E, 0])
def test_dropout_leaves_out_a_token_wherever_it_stands(width):
  size = 500
  tokens = np.random.default_rng(1).integers(size, size=(500, B), dtype=np.int32)
  part = Embedding(size, width, dropout=0.25)
  params = part.init(jax.random.key(0), tokens)
  whole = np.asarray(part.apply(params, tokens).dense())
  carry = {"layer": noise(1, B, H), "draw": no_draw()}
  for keyless in (None, carry, {"layer": noise(1, B, H)}):
    same(part.apply(params, tokens, keyless).dense(), whole)

  drawn = [
    part.apply(params, tokens, seed(carry, jax.random.key(1))),
    part.apply(params, tokens, seed(carry, jax.random.key(2))),
    part.apply(params, tokens, carry, rngs={"dropout": jax.random.key(1)}),
  ]
  for found in map(np.asarray, (lookup.dense() for lookup in drawn)):
    left_out = np.all(found == 0, axis=-1)
    close(found, np.where(left_out[..., None], 0, whole / 0.75), 1e-5)
    assert 0.17 < np.mean(left_out) < 0.33
    for token in np.unique(tokens):
      assert len(set(left_out[tokens == token])) == 1
  for one, other in itertools.combinations(drawn, 2):
    assert np.any(one.dense() != other.dense())


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_of_dropout_is_below_1(rate):
  with pytest.raises(BadInput, match=f"embedding_dropout={rate}: give a rate from 0"):
    Embedding(V, E, dropout=rate).init(jax.random.key(0), TOKENS)
