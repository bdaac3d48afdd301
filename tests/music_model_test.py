"""The model of piano rolls: its likelihood, what it draws, and its pictures."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parts.scores import by_key
from unroll import generate
from unroll.architecture import Architecture
from unroll.data.music.frames import frames, together
from unroll.layers import initial_carry
from unroll.models.music import drawn, roll_loss, roll_model
from unroll.report import rolls as pictures
from unroll.types import seed

LENGTHS = (7, 2, 5, 11, 3)


def roll_of(steps, number):
  draw = np.random.default_rng(number)
  return (draw.random((steps, 88)) < 0.3).astype(np.uint8)


ROLLS = [roll_of(steps, number) for number, steps in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def built():
  model = roll_model(Architecture(cell="gru", layers=2, hidden=(6,)))
  zeros = np.zeros((1, 1, 88), np.float32)
  params = jax.jit(model.init)(jax.random.key(0), zeros)
  # Logits that differ, from the first step on.
  draw = np.random.default_rng(1)
  return model, jax.tree.map(
    lambda leaf: jnp.asarray(leaf + 0.3 * draw.normal(size=leaf.shape), jnp.float32),
    jax.device_get(params),
  )


@functools.cache
def apply_of(model):
  @jax.jit
  def apply(params, carry, keys):
    return model.apply(params, keys, carry)

  return apply


def nats(built, keys):
  """The nats of each step of a piece, step by step."""
  model, params = built
  apply = apply_of(model)
  carry, last, found = initial_carry(model, params, 1), np.zeros(88), []
  for now in keys:
    carry, logits = apply(params, carry, last.astype(np.float32)[None, None])
    chance = 1 / (1 + np.exp(-np.asarray(logits[0, 0], np.float64)))
    found.append(-np.log(np.where(now, chance, 1 - chance)).sum())
    last = now
  return np.array(found)


@pytest.fixture(scope="module")
def expected(built):
  return [nats(built, keys) for keys in ROLLS]


@pytest.mark.parametrize("first", [False, True])
def test_the_likelihood_is_that_of_each_step_after_those_before(built, expected, first):
  model, params = built
  rows = np.array([3, -1, 0, 1])
  batch = together(ROLLS, rows, 13, first=first)
  padding = np.arange(13)[:, None] >= np.array([11, 0, 7, 2])
  dirty = batch._replace(keys=np.where(padding[..., None], np.uint8(7), batch.keys))
  loss = jax.jit(roll_loss(model))
  mean, (_, sums) = loss(params, initial_carry(model, params, 1), dirty)
  pieces = [expected[row][0 if first else 1 :] for row in (3, 0, 1)]
  steps = np.concatenate(pieces)
  np.testing.assert_allclose(mean, steps.mean(), rtol=1e-5)
  np.testing.assert_allclose(sums["loss"], (steps.sum(), steps.size), rtol=1e-5)
  means = sum(piece.mean() for piece in pieces)
  np.testing.assert_allclose(sums["pieces"], (means, 3), rtol=1e-5)


def test_a_source_has_every_piece_once_an_epoch():
  sources = [frames(ROLLS, 2, first=first, buckets=3) for first in (False, True)]
  for epoch in range(2):
    steps = range(epoch * len(sources[0]), (epoch + 1) * len(sources[0]))
    found = []
    for later, whole in ((source[step] for source in sources) for step in steps):
      np.testing.assert_array_equal(later.keys, whole.keys)
      np.testing.assert_array_equal(later.weight[1:], whole.weight[1:])
      assert not later.weight[0].any()
      for keys, weight in zip(whole.keys.swapaxes(0, 1), whole.weight.T):
        found.append(keys[weight > 0].tobytes())
    assert sorted(filter(None, found)) == sorted(keys.tobytes() for keys in ROLLS)
  assert repr(sources[0]) != repr(sources[1])


def test_a_piece_starts_afresh_and_only_its_dropout_differs(built):
  _, params = built
  model = roll_model(Architecture(cell="gru", layers=2, hidden=(6,), dropout=0.5))
  loss, batch = jax.jit(roll_loss(model)), together(ROLLS, np.arange(5), 11, first=True)
  fresh = initial_carry(model, params, 5)
  read = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), fresh)
  still = [float(loss(params, carry, batch)[0]) for carry in (fresh, read)]
  assert still[0] == still[1]
  drawing = [seed(fresh, jax.random.key(number)) for number in (0, 1)]
  dropped = [float(loss(params, carry, batch)[0]) for carry in drawing]
  assert len({*still, *dropped}) == 3


def test_what_is_drawn_is_read_next(built):
  model, params = built
  apply = apply_of(model)
  prompt = jnp.asarray(np.stack([ROLLS[0][:4], ROLLS[3][:4]], axis=1), jnp.float32)
  key, hot = jax.random.key(5), jnp.float32(0.7)
  carry = initial_carry(model, params, 2)
  _, steps = generate.frames(
    apply, params, carry, prompt, key, length=6, draw=drawn, options=(hot,)
  )
  assert set(np.unique(steps)) == {0, 1}
  for stream in range(2):
    own = jax.random.fold_in(key, stream)
    carry = initial_carry(model, params, 1)
    *before, last = prompt[:, None, stream : stream + 1]
    for step in before:
      carry, _ = apply(params, carry, step)
    for t in range(6):
      carry, logits = apply(params, carry, last)
      step = jax.jit(drawn)(logits[-1, 0], jax.random.fold_in(own, t), hot)
      np.testing.assert_array_equal(steps[t, stream], step)
      last = step[None, None]


def test_a_key_is_drawn_by_its_probability():
  logits = jnp.linspace(-3, 3, 7)
  keys = jax.random.split(jax.random.key(0), 20000)
  draws = jax.jit(jax.vmap(drawn, (None, 0, None)))
  for heat in (0.5, 1.0):
    found = draws(logits, keys, jnp.float32(heat)).mean(axis=0)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits / heat)), atol=0.015)
  coldest = draws(logits, keys[:9], jnp.float32(0))
  np.testing.assert_array_equal(coldest, np.tile(logits > 0, (9, 1)))


def test_the_rule_counts_what_follows_each_key():
  pieces = ROLLS[3:]
  found = by_key(ROLLS[:3], pieces)
  counts = np.zeros((88, 2, 2))
  for keys in ROLLS[:3]:
    for was, now in itertools.pairwise(keys):
      for key in range(88):
        counts[key, was[key], now[key]] += 1
  chance = (counts + 1) / (counts.sum(-1, keepdims=True) + 2)
  each = [
    np.array(
      [
        -sum(np.log(chance[key, was[key], now[key]]) for key in range(88))
        for was, now in itertools.pairwise(keys)
      ]
    )
    for keys in pieces
  ]
  total = np.concatenate(each)
  np.testing.assert_allclose(found["loss"], (total.sum(), 12))
  np.testing.assert_allclose(found["pieces"], (sum(e.mean() for e in each), 2))


SHOWN = {
  "notes": pictures.Shown("A $ piece 温", ROLLS[3]),
  "after a primer": pictures.Shown("b", ROLLS[0], given=3),
  "probabilities": pictures.Shown("c", ROLLS[1], chances=np.full((2, 88), 0.3)),
  "silence": pictures.Shown("d", np.zeros((4, 88), np.uint8)),
  "the whole keyboard": pictures.Shown("e", np.eye(88, dtype=np.uint8)),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_roll_has_a_picture(name, tmp_path):
  pictures.rolls([SHOWN[name]], 2, "a $ title", tmp_path / "a.png")
  png = (tmp_path / "a.png").read_bytes()
  assert png[:8] == b"\x89PNG\r\n\x1a\n"
  assert int.from_bytes(png[16:20], "big") == 1200


def test_a_note_stands_at_its_beats_and_key():
  keys = np.zeros((8, 88), np.uint8)
  keys[2:5, 60 - 21] = keys[5, 64 - 21] = 1
  _, [axes] = pictures.figure_of(1, "title", columns=1)
  pictures._notes(axes, pictures.Shown("a", keys, given=3), 2)
  given, own = axes.collections
  for bars, corners in ((given, (1, 2.5, 60)), (own, (2.5, 3, 64))):
    [path] = bars.get_paths()
    (left, bottom), (right, top) = path.vertices.min(0), path.vertices.max(0)
    assert (left, right) == pytest.approx(corners[:2])
    assert (bottom + top) / 2 == pytest.approx(corners[2])
