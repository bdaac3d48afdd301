"""Cosines of online gradients, from the command line; the streams they are taken on."""

import numpy as np
import pytest
from commands import run

from experiments.parts.streams import STREAMS


def stream(name, steps=300, batch=3):
  made = STREAMS[name](np.random.default_rng(0), steps, batch)
  assert made.x.shape[:2] == made.y.shape[:2] == (steps, batch)
  assert made.counts.shape == made.reset.shape == (steps, batch)
  assert np.all(made.reset[0])
  return made


def test_copy_asks_for_what_was_shown():
  made = stream("copy")
  starts = np.flatnonzero(made.reset[:, 0])
  assert np.array_equal(starts, np.arange(0, 300, 50))
  for start in starts:
    episode = slice(start, start + 50)
    assert np.array_equal(made.x[episode][:5, :, :8], made.y[episode][-5:])
    assert np.all(made.counts[episode].sum(axis=0) == 5)
    assert np.all(made.x[episode].sum(axis=-1) == 1)


def test_adding_asks_for_the_sum_of_the_marked():
  made = stream("adding")
  for start in range(0, 300, 100):
    x = made.x[start : start + 100]
    assert np.all(x[:50, :, 1].sum(axis=0) == 1) and np.all(x[50:, :, 1].sum(0) == 1)
    total = np.sum(x[..., 0] * x[..., 1], axis=0)
    np.testing.assert_allclose(made.y[start + 99, :, 0], total, rtol=1e-6)
  assert np.array_equal(np.flatnonzero(made.counts[:, 0]), [99, 199, 299])


def test_rotation_turns_by_one_matrix():
  made = stream("rotation")
  turn, *_ = np.linalg.lstsq(made.y[0:30, 0], made.y[1:31, 0], rcond=None)
  for lane in (1, 2):
    after = made.y[64:127, lane] @ turn
    np.testing.assert_allclose(after, made.y[65:128, lane], atol=1e-4)
  np.testing.assert_allclose(made.x[64, :, :8] @ turn, made.y[64], atol=1e-4)
  assert np.linalg.det(turn) > 0


def test_anbn_is_a_language():
  made = stream("anbn")
  symbols = np.argmax(made.x, axis=-1)
  for lane in range(3):
    text = "".join("abe"[symbol] for symbol in symbols[:, lane])
    *words, _ = text.split("e")
    assert words and all(
      word == "a" * (n := len(word) // 2) + "b" * n for word in words
    )
    starts = [0] + [at + 1 for at, letter in enumerate(text[:-1]) if letter == "e"]
    assert np.array_equal(np.flatnonzero(made.reset[:, lane]), starts)
  following = np.argmax(made.y, axis=-1)[:-1]
  inside = ~made.reset[1:]
  assert np.array_equal(following[inside], symbols[1:][inside])
  assert np.all(following[~inside] == 2)


@pytest.mark.slow
def test_exact_gradients_have_a_cosine_of_one(tmp_path):
  options = ("--steps=400", "--measured=100", "--units=8", "--batch=2", "--json")
  schemes = "--schemes=snap:2,snap1,rflo"
  done = run(tmp_path, "cosines", schemes, "--streams=anbn", "--seeds=2", *options)
  assert done.code == 0, done.err
  found, by_seed = done.json["cosines"], done.json["by_seed"]["snap1"]["anbn"]
  assert len(by_seed) == 2 and by_seed[0] != by_seed[1]
  assert abs(found["snap1"]["anbn"] - np.mean(by_seed)) < 1e-6
  assert "±" in done.out
  assert abs(found["snap:2"]["anbn"] - 1) < 1e-5
  assert found["rflo"]["anbn"] < found["snap1"]["anbn"] < 0.9999


@pytest.mark.slow
@pytest.mark.parametrize(
  "options", [("--schemes=tbptt:4",), ("--steps=300",), ("--schemes=snap",)]
)
def test_what_cannot_be_measured_is_refused(options, tmp_path):
  done = run(tmp_path, "cosines", *options)
  assert done.code == 2 and done.err.count("\n") == 1
