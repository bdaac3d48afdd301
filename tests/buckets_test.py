"""Batches of sequences of like length: each once, few shapes, little padding."""

import itertools

import jax
import numpy as np
import pytest

from unroll.data.buckets import Buckets, bounds
from unroll.data.examples import labelled, padded
from unroll.data.prefetch import dispatches
from unroll.types import BadInput

DRAW = np.random.default_rng(0)
LENGTHS = {
  "sentences": DRAW.poisson(19, 501),
  "skewed": DRAW.geometric(0.02, 700),
  "one_length": np.full(37, 5),
  "one": np.array([3]),
  "with_empty": np.array([0, 0, 7, 1, 9, 9, 2]),
  "of_2": np.array([1, 1000]),
}


def source(lengths, batch=16, **options):
  return Buckets(lengths, lambda rows, steps: (rows, steps), batch, **options)


def steps_of(lengths, edges):
  return sum(edges[np.searchsorted(edges, length)] for length in lengths)


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_has_every_sequence_once(name, shuffle):
  found = source(LENGTHS[name], shuffle=shuffle)
  for epoch in (0, 1):
    batches = [found[epoch * len(found) + i] for i in range(len(found))]
    rows = np.concatenate([rows for rows, _ in batches])
    assert sorted(rows[rows >= 0]) == list(range(len(LENGTHS[name])))
    for rows, steps in batches:
      assert (LENGTHS[name][rows[rows >= 0]] <= steps).all()


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_bounds_pad_least_of_all_that_there_are(name, most):
  lengths = np.maximum(LENGTHS[name], 1)[:60]
  values = np.unique(lengths)
  found = bounds(lengths, most)
  assert len(found) <= most and found[-1] == values[-1]
  if len(values) <= 12 or most <= 3:
    best = min(
      steps_of(lengths, np.array([*inner, values[-1]]))
      for count in range(min(most, len(values)))
      for inner in itertools.combinations(values[:-1], count)
    )
    assert steps_of(lengths, np.array(found)) == best


def test_batches_have_the_same_number_of_steps_but_for_rounding():
  found = source(LENGTHS["skewed"], batch=32)
  steps = 32 * LENGTHS["skewed"].mean()
  unit = 8  # the greatest common divisor of 32 and 840
  for bound, width in zip(found.bounds, found.widths):
    assert width % unit == 0
    assert width == unit or abs(width * bound - steps) <= bound * unit / 2
  assert found.padding == pytest.approx(
    1
    - LENGTHS["skewed"].sum()
    / sum(len(rows) * steps for rows, steps in (found[i] for i in range(len(found))))
  )


def test_few_shapes_and_so_few_programs():
  found = source(LENGTHS["skewed"], buckets=5)
  shapes = {(len(rows), steps) for rows, steps in found}
  assert len(shapes) == 5
  lengths, taken = LENGTHS["sentences"], []
  sequences = [np.arange(length) + 1 for length in lengths]

  def make(rows, steps):
    return padded(sequences, rows, steps)[0]

  @jax.jit
  def program(batches):
    taken.append(batches.shape)
    return batches.sum()

  for _, batches in dispatches(Buckets(lengths, make, 16, buckets=4), 0, 90, 5):
    program(batches)
  assert len(taken) == 4


@pytest.mark.parametrize("batch", [4, 6, 64])
def test_columns_are_a_part_of_the_whole_batch(batch):
  lengths = LENGTHS["sentences"]
  whole = source(lengths, batch)
  halves = [
    source(lengths, batch, columns=slice(p * batch // 2, (p + 1) * batch // 2))
    for p in (0, 1)
  ]
  for step in range(len(whole)):
    rows, steps = whole[step]
    parts = [half[step] for half in halves]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), rows)
    assert {part[1] for part in parts} == {steps}
    assert len(parts[0][0]) == len(parts[1][0])


def test_a_batch_depends_on_seed_and_step_alone():
  one, other = source(LENGTHS["skewed"]), source(LENGTHS["skewed"])
  later = one[70]
  [one[step] for step in (3, 0, 200)]
  np.testing.assert_array_equal(one[70][0], later[0])
  np.testing.assert_array_equal(other[70][0], later[0])
  third = source(LENGTHS["skewed"], seed=1)
  assert any(
    not np.array_equal(third[step][0], other[step][0]) for step in range(len(other))
  )


def test_batches_of_every_seed_have_the_same_shapes_in_turn():
  one, other = source(LENGTHS["skewed"]), source(LENGTHS["skewed"], seed=1)
  shapes = [[(len(rows), steps) for rows, steps in found] for found in (one, other)]
  assert shapes[0] == shapes[1] != sorted(shapes[0], key=lambda shape: shape[1])


def test_padded_and_labelled():
  sequences = [
    np.array([[1.0, 2.0]]),
    np.zeros((0, 2)),
    np.arange(3, 9.0).reshape(3, 2),
  ]
  inputs, valid = padded(sequences, np.array([2, -1, 1, 0]), 3)
  assert inputs.shape == (3, 4, 2)
  np.testing.assert_array_equal(inputs[:, 0], sequences[2])
  np.testing.assert_array_equal(valid.sum(0), [3, 0, 0, 1])
  assert not inputs[~valid].any()
  batch = labelled(sequences, np.array([4, -1, 0]), np.array([2, -1, 1, 0]), 3)
  np.testing.assert_array_equal(batch.targets, [[0, 0, 0, 4]])
  np.testing.assert_array_equal(batch.weight, [[1, 0, 0, 1]])


def test_no_sequence_is_refused():
  with pytest.raises(BadInput, match="no sequence"):
    source([])
  with pytest.raises(BadInput, match="batch=0"):
    source([1], 0)
