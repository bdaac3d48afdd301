"""The laws of rematerialisation: the same numbers under every plan."""

import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  CELLS,
  DEEP,
  MASKS,
  REGISTRY,
  B,
  D,
  H,
  close,
  initial,
  inputs,
  pairing,
  parameters,
  quick,
  quickly,
  reals,
  shaken,
  with_reals,
)

from unroll import remat
from unroll.cells import gru, lstm, vanilla
from unroll.compose import Wiring
from unroll.data.batches import Batch
from unroll.gradients import named_scheme
from unroll.layers import bidirectional, recurrent, rematerialised, stacked
from unroll.models.language import LanguageModel, next_token_loss
from unroll.remat import NONE, Plan, named_plan
from unroll.types import BadInput, seed

# Of 6 steps: with no rest, with one, with one in another; longer than the sequence.
PLANS = {
  **{name: named_plan(name) for name in ("every:1", "every:4", "every:9")},
  "root": named_plan("recursive:1"),
  "halves": named_plan("recursive:2"),
  "rests": Plan("rests", lambda length, batch: (4, 3)),
}
WHOLE = {name: recurrent(cell) for name, cell in CELLS.items()}


@functools.partial(quick, static_argnames=("layer", "reverse"))
def gradients(params, carry, xs, options, layer, reverse=False):
  """The gradients of a layer, and the carry and outputs that they are for."""

  def run(params, real, xs):
    carry_in = with_reals(carry, real)
    out = layer.unroll(params, carry_in, xs, reverse=reverse, **options)
    return pairing(out), out

  take = jax.grad(run, argnums=(0, 1, 2), has_aux=True)
  return take(params, reals(carry), xs)


def equal(layer, cut, dtype=np.float32, rtol=1e-5, masks="holes_resets", **options):
  """Asserts that a layer and the same in segments have one gradient and one output."""
  params = parameters(layer, dtype)
  masked = dict(zip(("valid", "reset"), MASKS[masks]))
  drawn = (params, initial(layer, params), inputs(dtype=dtype), masked)
  expected = gradients(*drawn, layer=layer, **options)
  close(gradients(*drawn, layer=cut, **options), expected, rtol)


@pytest.mark.parametrize(
  "name",
  quickly([*(n for n in REGISTRY if n in CELLS), "learned_carry", "dropout"], "lstm"),
)
def test_every_cell(name):
  equal(WHOLE[name], rematerialised(CELLS[name], PLANS["rests"]), reverse=True)


@pytest.mark.parametrize(
  "plan, reverse",
  [
    ("rests", False),
    ("every:1", True),
    *(
      pytest.param(plan, False, marks=pytest.mark.slow)
      for plan in PLANS
      if plan != "rests"
    ),
  ],
)
def test_every_plan(plan, reverse):
  equal(WHOLE["lstm"], rematerialised(CELLS["lstm"], PLANS[plan]), reverse=reverse)


@pytest.mark.parametrize("masks", quickly(MASKS, "holes", "padding_resets"))
def test_every_mask(masks):
  equal(WHOLE["gru"], rematerialised(CELLS["gru"], PLANS["every:4"]), masks=masks)


@pytest.mark.slow
@pytest.mark.parametrize("name", quickly(["skip", "dropout", "locked"], "locked"))
def test_a_stack_and_its_dropout(name):
  cells, wiring = DEEP[name]
  stack = stacked(*cells, wiring=wiring)
  equal(stack, rematerialised(stack, PLANS["rests"]), reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "dropout"])
def test_double_precision(name):
  with jax.enable_x64(True):
    cut = rematerialised(CELLS[name], PLANS["rests"])
    equal(WHOLE[name], cut, np.float64, 1e-12)


def test_a_bidirectional_layer_is_cut_one_direction_each():
  cells, plan = (lstm(D, H), gru(D, H)), PLANS["every:4"]
  whole = bidirectional(*cells)
  equal(whole, bidirectional(*(rematerialised(cell, plan) for cell in cells)))
  params = whole.init(jax.random.key(0))
  with pytest.raises(ValueError, match="each of its directions"):
    rematerialised(whole, plan).unroll(params, whole.carry(params, B), inputs())


# The language model: from tokens to cross-entropy, segment by segment.
V, E, LONG = 7, 4, 11


@functools.cache
def language(dropout=0.0, tie=False):
  wiring = Wiring(dropout=dropout, output_dropout=dropout)
  core = stacked(lstm(E, H), vanilla(H, E), wiring=wiring)
  return LanguageModel(V, E, core, E, tie)


def batch_of(length):
  """A batch whose rows start, end, and have steps that do not count."""
  draw = np.random.default_rng(3)
  return Batch(
    draw.integers(V, size=(length, B), dtype=np.int32),
    draw.integers(V, size=(length, B), dtype=np.int32),
    (draw.random((length, B)) < 0.8).astype(np.float32),
    draw.random((length, B)) < 0.2,
    draw.random((length, B)) < 0.8,
  )


@functools.cache
def estimates(model, plan, scheme):
  params = shaken(model.init(jax.random.key(1), jnp.zeros((1, 1), int)), 1, 0.3)
  carry = model.apply(params, B, method="initial_carry")
  carry = seed(shaken(carry, 2, 0.5), jax.random.key(4))
  estimate = named_scheme(scheme).estimator(next_token_loss(model, plan))
  return quick(estimate.estimate)(params, carry, (), batch_of(LONG), None)


@pytest.mark.slow
@pytest.mark.parametrize(
  "scheme, plan, options",
  [
    ("tbptt:5", "every:4", {"tie": True}),
    *(
      pytest.param(*row, {"dropout": 0.3}, marks=pytest.mark.slow)
      for row in (("full", "halves"), ("tbptt:4,7", "root"))
    ),
    *(
      pytest.param("full", plan, {"dropout": 0.3}, marks=pytest.mark.slow)
      for plan in ("root", "rests", "every:4")
    ),
  ],
)
def test_a_language_model(scheme, plan, options):
  model = language(**options)
  expected = estimates(model, NONE, scheme)
  close(estimates(model, PLANS[plan], scheme), expected, 1e-5)


def test_no_array_of_a_whole_chunk_is_made():
  model, length = language(dropout=0.3), 64
  loss = next_token_loss(model, remat.recursive(1))
  params = model.init(jax.random.key(1), jnp.zeros((1, 1), int))
  carry = seed(model.apply(params, B, method="initial_carry"), jax.random.key(4))
  gradient = quick(jax.grad(loss, has_aux=True))
  text = gradient.lower(params, carry, batch_of(length)).compile().as_text()
  shapes = [found.split(",") for found in re.findall(r"f32\[([\d,]+)\]", text)]
  sizes = [math.prod(map(int, shape)) for shape in shapes]
  assert length * B in sizes  # the weights that came in
  assert max(sizes) < length * B * min(V, E, H)


# Plans, by name.


@pytest.mark.parametrize("length", [1, 2, 7, 64, 97, 1000, 1024, 100_000, 100_003])
def test_lengths_shrink_evenly(length):
  for depth in (1, 2, 3):
    whole = [length, *remat.recursive(depth).lengths(length, 1)]
    assert len(whole) == depth + 1
    wanted = length ** (1 / (depth + 1))
    for outer, inner in itertools.pairwise(whole):
      assert 1 <= inner <= max(outer, 2)
      assert outer % inner == 0 or outer == length
      if length > 64:
        assert wanted / 4 <= outer / inner <= 4 * wanted
  if length > 1:
    assert remat.sqrt().lengths(length, 512) == remat.recursive(1).lengths(length, 1)


def test_the_depth_of_recursion_is_logarithmic():
  assert [remat.deepest(n) for n in (1, 8, 9, 64, 65, 513)] == [0, 0, 1, 1, 2, 3]
  for length in (10, 10_000, 100_003):
    lengths = remat.recursive().lengths(length, 512)
    assert len(lengths) == remat.deepest(length) and lengths[-1] <= 16


@pytest.mark.parametrize("plan", [remat.sqrt(), remat.recursive()])
@pytest.mark.parametrize("batch", [1, 8, 32, 512])
def test_segments_are_worth_what_each_costs_by_itself(plan, batch):
  for length in (1, 64, 100, 1000, 10_000, 100_003):
    lengths = plan.lengths(length, batch)
    assert all(batch * n >= remat.ROWS / 2 for n in lengths)  # a divisor is near
    assert lengths or length < 2 * remat.ROWS / batch
    for outer, inner in itertools.pairwise([length, *lengths]):
      assert inner < outer


@pytest.mark.parametrize(
  "spec", ["none", "sqrt", "every:1", "every:400", "recursive", "recursive:3"]
)
def test_a_plan_has_the_name_it_is_read_by(spec):
  assert named_plan(spec).name == spec


@pytest.mark.parametrize(
  "spec",
  [
    *("", "auto:", "all", "every", "every:", "every:0", "every:-2", "every:1.5"),
    *("sqrt:2", "none:1", "recursive:0", "recursive:x", "every:1,2", "every:²"),
  ],
)
def test_no_other_name_is_read(spec):
  with pytest.raises(BadInput, match=r"remat=.*choose none, sqrt, every:K"):
    named_plan(spec)


@pytest.mark.parametrize("make", [remat.every, remat.recursive])
def test_numbers_start_at_one(make):
  with pytest.raises(ValueError, match="must be at least 1"):
    make(0)
