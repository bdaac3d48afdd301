"""What the laboratory measures of sequences of a model: each as it is alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parts import flows, kinds
from experiments.parts.flows import Model
from unroll.architecture import Architecture
from unroll.data.classes.reader import Shape
from unroll.data.examples import Examples
from unroll.models import classifier as classifiers

T, B, D, H, LENGTHS = 9, 3, 4, 5, (9, 4, 6)


@pytest.fixture(scope="module")
def model():
  """A classifier of features."""
  chosen = Architecture(cell="gru", hidden=(H,), layers=1)
  shape = Shape(2, features=D)
  module = classifiers.classifier(classifiers.Classifiers(), chosen, shape)
  params = module.init(jax.random.key(0), classifiers.example(shape))
  return Model(module, params, chosen, classifiers.classifier_loss)


def batch_of(columns):
  """Some of the sequences, as long as the longest of them."""
  lengths = np.array(LENGTHS)[columns]
  inputs = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)
  labels, weight = np.array([[0, 1, 1]], np.int32), np.ones((1, B), np.float32)
  steps = lengths.max()
  valid = np.arange(steps)[:, None] < lengths
  cut = [inputs[:steps, columns] * valid[..., None], labels[:, columns]]
  return Examples(*cut, weight[:, columns], valid)


def looked(model, columns, lags=6):
  batch = batch_of(columns)
  return flows.measured(model, batch, flows.stretch(model, batch), lags, 0, H)


@pytest.mark.slow
def test_padded_sequences_are_as_each_alone(model):
  """Also in how long they are: a mean is of those that reach so far."""
  together, alone = looked(model, [1, 2]), [looked(model, [one]) for one in (1, 2)]
  for exponents, one in zip(together.exponents, alone, strict=True):
    # Where directions start is drawn for all of them; their volume is not.
    volume = np.sum(one.exponents[0])
    np.testing.assert_allclose(np.sum(exponents), volume, rtol=1e-4)
  norms = together.norms["layer 1"]["h"]
  each = [one.norms["layer 1"]["h"] for one in alone]
  assert len(norms) == 6 and [len(one) for one in each] == [4, 6]
  for lag, norm in enumerate(norms):
    own = [one[lag] for one in each if lag < len(one)]
    np.testing.assert_allclose(norm, np.mean(own), rtol=1e-4)


def test_nothing_counts_but_the_last_step_that_does():
  weight = np.array([[1, 1], [1, 0], [1, 1], [0, 0]], np.float32)
  batch = Examples(weight, weight, weight, None)
  expected = [[0, 0], [0, 0], [1, 1], [0, 0]]
  np.testing.assert_array_equal(kinds.last(batch).weight, expected)
  valid = np.ones(weight.shape, bool)
  np.testing.assert_array_equal(kinds.ends(kinds.last(batch), valid), [2, 2])
  whole = batch._replace(weight=weight[:1])
  assert kinds.last(whole) is whole
  np.testing.assert_array_equal(kinds.ends(whole, valid & (weight > 0)), [2, 2])
  assert jnp.all(kinds.last(kinds.last(batch)).weight == kinds.last(batch).weight)
