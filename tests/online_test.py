"""The laws of schemes that keep a memory: what their gradients add up to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from rows import D
from tables import (
  CELLS,
  MASKS,
  SHAPES,
  B,
  T,
  close,
  initial,
  noise,
  parameters,
  quickly,
)

from unroll import cells as library
from unroll import gradients, scan
from unroll.types import BadInput, Cell, Sums

KEY = jax.random.key(0)
DRAWING = ("zoneout", "dropped_state", "dropout", "locked")
EXACT = {name: cell for name, cell in CELLS.items() if name not in DRAWING}


def squares(cell: Cell, backward: scan.Backward = "fast"):
  """A chunk loss of (inputs, weights, valid, reset)."""

  def loss(params, carry, batch):
    xs, weight, valid, reset = batch
    carry, ys = scan.unroll(
      cell, params, carry, xs, valid=valid, reset=reset, backward=backward
    )
    each = jnp.sum(jnp.square(ys - 0.3).reshape(*ys.shape[:2], -1), axis=-1)
    total, count = jnp.sum(each * weight), jnp.sum(weight)
    mean, *sums = (x.astype(jnp.float32) for x in (total / count, total, count))
    return mean, (carry, {"loss": Sums(*sums)})

  return loss


def batch_of(cell_shape, masks, length=T, dtype=np.float64):
  weight = np.random.default_rng(2).uniform(0.5, 3, (length, B)).astype(dtype)
  return (noise(0, length, B, *cell_shape, dtype=dtype), weight, *MASKS[masks])


def cut(batch, start, stop):
  return jax.tree.map(lambda leaf: leaf[start:stop], batch)


def added_up(scheme, cell, params, carry, batch, k, key=KEY):
  """The gradients of all chunks at the same parameters, in the mean of the whole."""
  loss = squares(cell, scheme.backward)
  estimator = scheme.estimator(loss)
  memory = estimator.init(params, carry, cut(batch, 0, k))
  estimate = jax.jit(estimator.estimate)
  total, weight = 0.0, batch[1]
  for start in range(0, len(batch[0]), k):
    own = jax.random.fold_in(key, start)
    found = estimate(params, carry, memory, cut(batch, start, start + k), own)
    carry, memory = found.carry, found.memory
    share = weight[start : start + k].sum() / weight.sum()
    total = total + share * ravel_pytree(found.grads)[0]
  return total, carry


@pytest.mark.parametrize(
  ("name", "masks", "k"),
  [
    ("rnn", "holes_resets", 2),
    pytest.param("deep", "holes_resets", 2, marks=pytest.mark.slow),
    pytest.param("lstm", "none", 1, marks=pytest.mark.slow),
    *(pytest.param(name, "padding", 3, marks=pytest.mark.slow) for name in EXACT),
  ],
)
def test_rtrl_is_full(name, masks, k):
  with jax.enable_x64(True):
    cell = EXACT[name]
    params = parameters(cell, np.float64)
    carry = initial(cell, params)

    batch = batch_of(SHAPES.get(name, (D,)), masks)
    full = gradients.full().estimator(squares(cell))
    expected = full.estimate(params, carry, (), batch, KEY)
    found, after = added_up(gradients.rtrl(k), cell, params, carry, batch, k)
    np.testing.assert_allclose(found, ravel_pytree(expected.grads)[0], atol=1e-10)
    close(after, expected.carry, 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*library.CELLS} - {*EXACT}))
def test_rtrl_is_full_of_every_cell(name):
  with jax.enable_x64(True):
    cell = library.CELLS[name](4, 4)
    params = parameters(cell, np.float64)
    carry = initial(cell, params)
    batch = batch_of((4,), "holes_resets")
    expected = (
      gradients.full().estimator(squares(cell)).estimate(params, carry, (), batch, KEY)
    )
    found, _ = added_up(gradients.rtrl(3), cell, params, carry, batch, 3)
    np.testing.assert_allclose(found, ravel_pytree(expected.grads)[0], atol=1e-10)


def gradients_by_seed(scheme, name, k, seeds, masks="holes_resets"):
  """The gradient of all chunks for many keys `[seeds, P]`, and the full one `[P]`."""
  cell = CELLS[name]
  params = parameters(cell, np.float64)
  carry = initial(cell, params)
  batch = batch_of((D,), masks)
  full = gradients.full().estimator(squares(cell))
  expected = ravel_pytree(full.estimate(params, carry, (), batch, KEY).grads)[0]

  def one(key):
    return added_up(scheme, cell, params, carry, batch, k, key)[0]

  return jax.jit(jax.vmap(one))(jax.random.split(KEY, seeds)), expected


def deviations(found, expected):
  """By how many standard errors the mean of each element is off."""
  error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
  return (np.mean(found, axis=0) - expected) / np.maximum(error, 1e-12)


UNBIASED = {"uoro": (gradients.uoro(1), 1), "uoro:2": (gradients.uoro(2), 2)}


@pytest.mark.parametrize("name", quickly(["rnn", "lstm"], "rnn"))
@pytest.mark.parametrize("scheme", quickly(UNBIASED, "uoro:2"))
def test_right_in_the_mean(scheme, name):
  with jax.enable_x64(True):
    made, k = UNBIASED[scheme]
    found, expected = gradients_by_seed(made, name, k, 4000)
    off = deviations(found, expected)
    assert np.max(np.abs(off)) < 4
    cut_off, _ = gradients_by_seed(gradients.truncated(1), name, 1, 2)
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert np.max(np.abs(cut_off[0] - expected) / error) > 8


@pytest.mark.parametrize("rank", [2, 100])
@pytest.mark.parametrize("name", quickly(["rnn", "lstm", "deep"], "rnn"))
def test_a_sketch_knows_its_error(name, rank):
  with jax.enable_x64(True):
    cell = CELLS[name]
    params, k = parameters(cell, np.float64), 1
    carry = initial(cell, params)
    batch = batch_of((D,), "holes_resets")
    loss = squares(cell)
    exact, kept = gradients.rtrl(k).estimator(loss), gradients.sketched(rank, k)
    kept = kept.estimator(loss)
    exactly, nearly = jax.jit(exact.estimate), jax.jit(kept.estimate)
    memory, sketch = (e.init(params, carry, cut(batch, 0, k)) for e in (exact, kept))
    for start in range(T):
      at = (cut(batch, start, start + k), KEY)
      one = exactly(params, carry, memory, *at)
      two = nearly(params, carry, sketch, *at)
      carry, memory, sketch = one.carry, one.memory, two.memory
      error = np.linalg.norm(memory - sketch.states @ sketch.params, 2, axis=(1, 2))
      assert np.all(error <= sketch.error + 1e-12)
      if rank == 100:
        np.testing.assert_allclose(error, 0, atol=1e-12)
        close(two.grads, one.grads, 1e-10)
    assert np.any(sketch.error > 1e-3) == (rank < 100)


@pytest.mark.parametrize("scheme", ["rtrl", "uoro", "sketched:2"])
@pytest.mark.parametrize("name", DRAWING)
def test_draws_within_a_step_are_refused(name, scheme):
  cell, made = CELLS[name], gradients.named_scheme(scheme)
  params = parameters(cell)
  estimator = made.estimator(squares(cell, made.backward))
  with pytest.raises(BadInput, match="follows every state"):
    estimator.init(params, cell.carry(params, B), batch_of((D,), "none"))


def test_what_reaches_no_state_has_no_influence():
  """A read-out of its own is no part of the influence, and has its exact gradient."""
  cell = CELLS["gru"]
  params = {"cell": parameters(cell), "out": noise(4, 4, 2)}
  carry = initial(cell, params["cell"])

  def loss(params, carry, batch):
    carry, ys = scan.unroll(cell, params["cell"], carry, batch)
    total = jnp.sum(jnp.tanh(ys @ params["out"]))
    sums = Sums(total, jnp.float32(batch.shape[0]))
    return sums.mean(), (carry, {"loss": sums})

  xs = noise(0, 1, B, D)
  memory = gradients.rtrl().estimator(loss).init(params, carry, xs)
  assert memory.shape[-1] == ravel_pytree(params["cell"])[0].size
