"""Measures: what people read, out of sums on the host."""

import math

import jax
import numpy as np
import pytest

from unroll import metrics
from unroll.metrics import ACCURACY, BITS_PER_CHAR, NATS, PERPLEXITY, Measure
from unroll.types import Sums, added

LOSS = Sums(np.float32(231.7), np.float32(97))
SUMS = {
  "loss": LOSS,
  "tokens_per_char": Sums(1_003_854, 5_458_199),  # words
  "accuracy": Sums(np.float32(31), np.float32(97)),
}


def test_measures_of_a_language_model():
  loss = float(LOSS.total / LOSS.count)
  assert NATS.of(SUMS) == loss and loss == float(LOSS.mean())
  assert PERPLEXITY.of(SUMS) == metrics.perplexity(loss) == math.exp(loss)
  # To the last bit, as from the ratio itself.
  ratio = 1_003_854 / 5_458_199
  assert BITS_PER_CHAR.of(SUMS) == metrics.bits_per_char(loss, ratio)
  assert ACCURACY.of(SUMS) == float(np.float32(31) / np.float32(97))
  assert {m.better for m in (NATS, PERPLEXITY, BITS_PER_CHAR)} == {"lower"}
  assert ACCURACY.better == "higher"


def test_a_mean_of_nothing_is_zero():
  assert metrics.mean_of("x")({"x": Sums(np.float32(0), np.float32(0))}) == 0


def test_a_measure_runs_nothing_on_the_device():
  with jax.transfer_guard("disallow"):
    for measure in (NATS, PERPLEXITY, BITS_PER_CHAR, ACCURACY):
      assert math.isfinite(measure.of(SUMS))


@pytest.mark.parametrize(
  ("measure", "said"),
  [
    (NATS, "loss, nats"),
    (BITS_PER_CHAR, "bits per character"),
    (PERPLEXITY, "perplexity"),
    (Measure("edit_distance", "", "lower", len), "edit distance"),
    (Measure("absolute_error", "MW", "lower", len), "absolute error, MW"),
  ],
)
def test_what_people_call_a_measure(measure, said):
  assert str(measure) == said


def test_the_second_unit_of_nats_is_bits():
  unit, factor = NATS.also
  assert unit == "bits" and factor * math.log(2) == pytest.approx(1)


def test_sums_are_added_by_name_whatever_their_shape():
  a = {"loss": Sums(1.0, 2.0), "steps": Sums(np.array([1.0, 2]), np.array([3.0, 4]))}
  b = {"loss": Sums(5.0, 7.0), "steps": Sums(np.array([8.0, 9]), np.array([1.0, 0]))}
  both = added(a, b | {"more": Sums(3.0, 4.0)})
  assert both["loss"] == (6, 9) and both["more"] == (3, 4)
  np.testing.assert_array_equal(both["steps"], [[9, 11], [4, 4]])
  assert a["loss"] == (1, 2) and added({}, a) == a
