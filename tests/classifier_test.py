"""Classifiers: padding reaches nothing, one step is a net, sums are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import same

from unroll import classification
from unroll.architecture import Architecture
from unroll.data.examples import Examples
from unroll.models.classifier import (
  Classifiers,
  Shape,
  classifier,
  classifier_loss,
  example,
)
from unroll.models.pooling import POOLINGS, Pooling
from unroll.types import BadInput, seed

DRAW = np.random.default_rng(0)
LENGTHS = (5, 0, 3, 1)
YS = DRAW.normal(size=(5, 4, 6)).astype(np.float32)
VALID = np.arange(5)[:, None] < np.array(LENGTHS)


def pooled(kind, ys, valid, **options):
  pooling = Pooling(kind, **options)
  params = pooling.init(jax.random.key(0), jnp.asarray(YS), jnp.asarray(VALID))
  return np.asarray(pooling.apply(params, jnp.asarray(ys), jnp.asarray(valid)))


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_pooled_sequence_is_that_of_its_steps_alone(kind):
  found = pooled(kind, np.where(VALID[..., None], YS, np.nan), VALID)
  for column, length in enumerate(LENGTHS):
    if not length:
      np.testing.assert_array_equal(found[column], 0)
      continue
    alone = pooled(kind, YS[:length, [column]], np.ones((length, 1), bool))
    np.testing.assert_allclose(found[column], alone[0], atol=1e-6)
  if kind in ("mean", "max"):
    np.testing.assert_allclose(found[2], getattr(YS[:3, 2], kind)(0), rtol=1e-6)


@pytest.mark.parametrize("kind", POOLINGS)
def test_gradients_of_a_sequence_without_steps_are_finite(kind):
  pooling = Pooling(kind)
  params = pooling.init(jax.random.key(0), jnp.asarray(YS), jnp.asarray(VALID))

  def total(params, ys):
    return (pooling.apply(params, ys, jnp.asarray(VALID)) ** 2).sum()

  for grads in jax.grad(total, (0, 1))(params, jnp.asarray(YS)):
    for leaf in jax.tree.leaves(grads):
      assert np.isfinite(leaf).all()
  grads = jax.grad(total, 1)(params, jnp.asarray(YS))
  np.testing.assert_array_equal(np.asarray(grads)[~VALID], 0)


def test_last_takes_the_first_step_of_what_was_read_from_the_right():
  leftward = (False, False, True, True, False, True)
  found = pooled("last", YS, VALID, leftward=leftward)
  for column, length in enumerate(LENGTHS):
    if length:
      first, last = YS[0, column], YS[length - 1, column]
      np.testing.assert_array_equal(found[column], np.where(leftward, first, last))


def model_of(shape, pooling="last", both=False, **architecture):
  options = {"cell": "gru", "layers": 2, "hidden": (3,), **architecture}
  chosen = Classifiers(embedding=4, pooling=pooling, bidirectional=both)
  model = classifier(chosen, Architecture(**options), shape)
  return model, model.init(jax.random.key(1), example(shape))


@pytest.mark.parametrize(
  "features, pooling, both, skip",
  [
    (0, "last", True, False),
    pytest.param(2, "last", True, True, marks=pytest.mark.slow),
    pytest.param(2, "attention", True, False, marks=pytest.mark.slow),
    pytest.param(0, "mean", False, True, marks=pytest.mark.slow),
    pytest.param(2, "max", False, False, marks=pytest.mark.slow),
  ],
)
def test_a_label_does_not_depend_on_padding_or_neighbours(
  features, pooling, both, skip
):
  shape = Shape(3, features=features) if features else Shape(3, vocabulary=7)
  model, params = model_of(shape, pooling, both, skip=skip)
  if features:
    inputs = DRAW.normal(size=(5, 4, features)).astype(np.float32)
    broken = np.where(VALID[..., None], inputs, np.nan)
  else:
    inputs = DRAW.integers(7, size=(5, 4)).astype(np.int32)
    broken = np.where(VALID, inputs, 6)
  apply = jax.jit(model.apply)
  found = apply(params, broken, None, jnp.asarray(VALID))
  assert np.isfinite(found).all()
  for column in (0, 2):
    alone = apply(params, inputs[: LENGTHS[column], [column]])
    np.testing.assert_allclose(found[column], alone[0], atol=1e-5)


def test_one_step_is_a_feed_forward_net():
  """T = 1 from a carry of zero: h = tanh(W x + b), layer upon layer."""
  model, params = model_of(Shape(3, features=2), cell="rnn", layers=2)
  x = DRAW.normal(size=(1, 5, 2)).astype(np.float32)
  found = model.apply(params, x)
  held = params["params"]
  h = x[0]
  for layer in held["recurrent"]["core"]:
    h = np.tanh(h @ np.asarray(layer.w_x) + np.asarray(layer.b))
  output = held["output"]
  expected = h @ np.asarray(output["kernel"]) + np.asarray(output["bias"])
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_steps_are_layers_with_tied_weights():
  """Unrolled over a constant input, a cell is a deep net whose layers share weights.

  So are its gradients: that of the shared weights is the sum over the layers.
  """
  model, params = model_of(Shape(3, features=2), cell="rnn", layers=1)
  x = DRAW.normal(size=(1, 5, 2)).astype(np.float32)
  [layer] = params["params"]["recurrent"]["core"]
  depth = 6

  def deep(weights, x):
    h = jnp.zeros((5, 3))
    for own in weights:  # each layer with weights of its own
      h = jnp.tanh(x @ own.w_x + h @ own.w_h + own.b[None])
    output = params["params"]["output"]
    return h @ output["kernel"] + output["bias"][None]

  def unrolled(layer):
    held = {**params["params"], "recurrent": {"core": (layer,)}}
    return model.apply({"params": held}, np.repeat(x, depth, axis=0))

  np.testing.assert_allclose(unrolled(layer), deep([layer] * depth, x[0]), atol=1e-6)
  tied = jax.grad(lambda layer: (unrolled(layer) ** 2).sum())(layer)
  untied = jax.grad(lambda weights: (deep(weights, x[0]) ** 2).sum())([layer] * depth)
  summed = jax.tree.map(lambda *leaves: sum(leaves), *untied)
  for found, expected in zip(jax.tree.leaves(tied), jax.tree.leaves(summed)):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_sums_count_what_they_say():
  logits = DRAW.normal(size=(50, 3)).astype(np.float32) * 3
  targets, weight = DRAW.integers(3, size=50), DRAW.integers(3, size=50) / 2
  loss, sums = classification.errors(
    jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(weight, jnp.float32)
  )
  there = weight > 0
  chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  nats = -np.log(chances[np.arange(50), targets])
  np.testing.assert_allclose(loss.total, (nats * weight).sum(), rtol=1e-5)
  np.testing.assert_allclose(loss.count, weight.sum(), rtol=1e-6)
  taken = logits.argmax(1)
  confusion = np.zeros((3, 3))
  np.add.at(confusion, (targets[there], taken[there]), 1)
  np.testing.assert_array_equal(sums["confusion"].total, confusion)
  assert float(sums["accuracy"].total) == (taken == targets)[there].sum()
  assert float(sums["accuracy"].count) == there.sum()
  bins = np.ceil(chances.max(1) * 15).astype(int) - 1
  gap = sum(
    abs((chances.max(1)[some]).sum() - (taken == targets)[some].sum())
    for some in (there & (bins == b) for b in range(15))
  )
  found = classification.calibration_error(jax.device_get(sums))
  assert found == pytest.approx(gap / there.sum(), rel=1e-4)


def test_scores_of_a_class_that_is_never_there_are_zero():
  found = classification.scores(np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]]))
  np.testing.assert_allclose(found.precision, [3 / 5, 4 / 5, 0])
  np.testing.assert_allclose(found.recall, [3 / 4, 4 / 6, 0])
  np.testing.assert_allclose(found.f1, [6 / 9, 8 / 11, 0])
  np.testing.assert_array_equal(found.support, [4, 6, 0])


def test_the_loss_gives_the_carry_back_whatever_its_batch():
  model, params = model_of(Shape(3, vocabulary=7), dropout=0.5)
  loss = classifier_loss(model)
  carry = model.apply(params, 2, method="initial_carry")
  tokens = DRAW.integers(7, size=(5, 4)).astype(np.int32)
  batch = Examples(tokens, np.array([[0, 1, 2, 0]]), np.ones((1, 4), np.float32), VALID)
  value, (after, sums) = loss(params, carry, batch)
  assert jax.tree.structure(after) == jax.tree.structure(carry)
  assert value == sums["loss"].mean()


def test_tokens_are_left_out_in_training_alone():
  model, params = model_of(Shape(3, vocabulary=7))
  dropping = model.clone(embedding_dropout=0.5)
  tokens = DRAW.integers(7, size=(5, 4)).astype(np.int32)
  carry = model.apply(params, 4, method="initial_carry")
  same(dropping.apply(params, tokens, carry), model.apply(params, tokens, carry))
  keyed = seed(carry, jax.random.key(1))
  drawn = dropping.apply(params, tokens, keyed)
  assert np.any(drawn != model.apply(params, tokens, keyed))


def test_settings_that_do_not_fit_are_refused():
  with pytest.raises(BadInput, match=r"embedding_dropout=0\.5: features have no"):
    classifier(Classifiers(embedding_dropout=0.5), Architecture(), Shape(3, features=2))
  with pytest.raises(BadInput, match="pooling=first"):
    model_of(Shape(3, vocabulary=7), "first")
