"""A sequence that is looked up is the sequence, whichever side of it is projected."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  CELLS,
  DEEP,
  MASKS,
  SHAPES,
  B,
  D,
  T,
  close,
  initial,
  noise,
  pairing,
  parameters,
  quick,
  quickly,
)

from unroll import scan
from unroll.layers import stacked
from unroll.scan import lookup
from unroll.types import Lookup

IMAGES = [
  name for name, shape in SHAPES.items() if shape != (D,)
]  # which have no table
SMALL, LARGE = (
  4,
  40,
)  # vocabularies: fewer and more rows than projecting T·B steps costs


def looked_up(vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
  """A table that differs everywhere, and ids of which some come twice."""
  ids = np.random.default_rng(7).integers(0, vocabulary, (T, B)).astype(np.int32)
  return noise(8, vocabulary, D), ids


def losses(part, params, carry, ids, **options):
  """The loss of a lookup and of its dense sequence, as functions of both."""
  unroll = part.unroll if hasattr(part, "unroll") else None

  def of(xs, params):
    if unroll:
      return pairing(unroll(params, carry, xs, **options))
    return pairing(scan.unroll(part, params, carry, xs, **options))

  def sparse(table, params):
    return of(Lookup(table, ids), params)

  def dense(table, params):
    return of(Lookup(table, ids).dense(), params)

  return sparse, dense


def test_it_pays_where_the_vocabulary_is_small():
  assert lookup.pays(Lookup(*looked_up(SMALL)))
  assert not lookup.pays(Lookup(*looked_up(LARGE)))


@pytest.mark.parametrize("vocabulary", [SMALL, LARGE])
@pytest.mark.parametrize(
  "name",
  quickly([n for n in CELLS if n not in IMAGES], "lstm", "deep"),
)
def test_a_lookup_is_its_sequence(name, vocabulary):
  cell = CELLS[name]
  params = parameters(cell)
  carry = initial(cell, params)
  table, ids = looked_up(vocabulary)
  for masks in ("none", "holes_resets"):
    valid, reset = MASKS[masks]
    options = {"valid": valid, "reset": reset, "reverse": masks == "none"}
    take = [
      quick(jax.value_and_grad(loss, (0, 1)))
      for loss in losses(cell, params, carry, ids, **options)
    ]
    (value, grads), (exact, exact_grads) = (f(table, params) for f in take)
    close(value, exact, 1e-5)
    close(grads, exact_grads, 1e-5)


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
def test_ids_of_padding_may_be_anything(backward):
  cell = CELLS["lstm"]
  params = parameters(cell)
  carry = initial(cell, params)
  table, ids = looked_up(SMALL)
  valid, _ = MASKS["padding_resets"]
  wild = np.where(valid, ids, 10**6).astype(np.int32)

  def results(ids):
    sparse, _ = losses(cell, params, carry, ids, valid=valid, backward=backward)
    return jax.value_and_grad(sparse, (0, 1))(table, params)

  close(results(wild), results(ids), 1e-6)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(results(wild)))


@pytest.mark.parametrize("name", ["deep", "residual", "skip", "dropout"])
@pytest.mark.slow
def test_a_stack_reads_it_too(name):
  cells, wiring = DEEP[name]
  layer = stacked(*cells, wiring=wiring)
  params = layer.init(jax.random.key(1))
  carry = initial(CELLS[name], params)
  table, ids = looked_up(SMALL)
  sparse, dense = losses(layer, params, carry, ids)
  close(
    jax.grad(sparse, (0, 1))(table, params),
    jax.grad(dense, (0, 1))(table, params),
    1e-5,
  )


def test_no_projection_of_the_sequence_is_left():
  cell = CELLS["gru"]
  params = parameters(cell)
  table, ids = looked_up(SMALL)
  sparse, dense = losses(cell, params, cell.carry(params, B), jnp.asarray(ids))

  def products(loss):
    text = str(jax.make_jaxpr(loss)(table, params))
    return f"f32[{T},{B},{3 * params.w_h.shape[0]}] = dot_general" in text

  assert products(dense)
  assert not products(sparse)
