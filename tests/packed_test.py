"""The law of packed documents: what each gives alone, it gives in a row of many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close

from unroll.architecture import Architecture
from unroll.data.batches import Lanes, Windows
from unroll.data.packed import Packed
from unroll.layers import initial_carry
from unroll.models.language import language_model, next_token_loss
from unroll.train import evaluated, make_evaluate

V, END = 9, 0
RNG = np.random.default_rng(2)
DOCUMENTS = [RNG.integers(1, V, size=size) for size in (5, 1, 12, 3, 8, 2, 7)]
TEXT = np.concatenate([np.append(END, document) for document in DOCUMENTS])
MODEL = language_model(Architecture("lstm", 2, (6,)), V, embedding=4)
PARAMS = MODEL.init(jax.random.key(2), jnp.zeros((1, 1), jnp.int32))
EVALUATE = make_evaluate(next_token_loss(MODEL))


def sums(source):
  batches = ((1, jax.tree.map(lambda leaf: leaf[None], one)) for one in source)
  carry = initial_carry(MODEL, PARAMS, source.rows)
  return evaluated(EVALUATE, PARAMS, carry, batches)["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 4, 9, 60])
def test_a_document_in_a_row_is_the_document_alone(length):
  alone = [sums(Lanes(np.append(END, d), 1, len(d))) for d in DOCUMENTS]
  # What ends a document is predicted from it, and there is none after the last.
  ends = [
    sums(Lanes(np.concatenate([[END], d, [END]]), 1, len(d) + 1))
    for d in DOCUMENTS[:-1]
  ]
  expected = sum(float(one.total) for one in [*ends, alone[-1]])
  found = sums(Packed(Lanes(TEXT, 1, length), END))
  close(found.total, np.float32(expected), 1e-5)
  assert found.count == len(TEXT) - 1


def test_without_packing_a_document_sees_those_before_it():
  plain, packed = Lanes(TEXT, 1, 60), Packed(Lanes(TEXT, 1, 60), END)
  assert abs(sums(plain).total - sums(packed).total) > 1e-3


@pytest.mark.parametrize("source", [Lanes(TEXT, 3, 5), Windows(TEXT, 2, 6, seed=1)])
def test_the_rest_of_a_batch_is_that_of_its_source(source):
  packed = Packed(source, END)
  assert (len(packed), packed.rows, packed.epoch(9)) == (
    *(len(source), source.rows, source.epoch(9)),
  )
  assert repr(packed) == f"Packed({source!r}, end=0)"
  for one, own in zip(packed, source, strict=True):
    for name in ("inputs", "targets", "weight"):
      np.testing.assert_array_equal(getattr(one, name), getattr(own, name))
    starts = (np.asarray(own.inputs) == END) | own.reset
    np.testing.assert_array_equal(one.reset, starts)
