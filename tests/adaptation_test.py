"""Laws of evaluation in order: what it adds is what its equation says, however cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, quick, same

from unroll import adaptation
from unroll.adaptation import Evaluated
from unroll.architecture import Architecture
from unroll.data.batches import Lanes
from unroll.layers import initial_carry
from unroll.models.language import language_model, next_token_loss
from unroll.train import evaluated, make_evaluate
from unroll.types import seed

V, H, LANES, SIZE = 11, 6, 3, 5
TOKENS = np.random.default_rng(1).integers(V, size=70, dtype=np.int32)
KEY = jax.random.key(4)


def model(**options):
  return language_model(Architecture("gru", 2, (H,), **options), V, embedding=5)


MODEL = model()
PARAMS = MODEL.init(jax.random.key(2), jnp.zeros((1, 1), jnp.int32))


def start(params, batch, of=MODEL):
  return initial_carry(of, params, batch)


def loss_of(part, length, lanes=LANES, params=PARAMS):
  """The mean nats of the whole text, read so many tokens at a time."""
  evaluate = make_evaluate(part.loss)
  source = Lanes(TOKENS, lanes, length)
  dispatches = ((1, jax.tree.map(lambda leaf: leaf[None], one)) for one in source)
  sums = evaluated(evaluate, params, part.start(params, lanes), dispatches)
  return np.float32(sums["loss"].mean())


PLAIN = Evaluated(next_token_loss(MODEL), start)
CACHE = (MODEL, start, SIZE, 2.0, 0.3)


@pytest.mark.parametrize(
  "part",
  {
    "rate": adaptation.dynamic(PLAIN, 0.0, 0.5),
    "weight": adaptation.cached(MODEL, start, SIZE, 1.0, 0.0),
    "draws": adaptation.averaged(MODEL, start, 3, KEY),
  }.values(),
  ids=["rate", "weight", "draws"],
)
def test_nothing_added_is_the_plain_evaluation(part):
  close(loss_of(part, 7), loss_of(PLAIN, 7), 1e-6)


def test_the_cache_is_its_equation():
  """One stream, word by word, in NumPy."""
  _, ys, log_p = quick(MODEL.apply, static_argnames="method")(
    PARAMS, Lanes(TOKENS, 1, 200)[0], start(PARAMS, 1), method="log_probs"
  )
  ys, p, targets = np.asarray(ys[:, 0]), np.exp(log_p[:, 0]), TOKENS[1:]
  nats = []
  for t, target in enumerate(targets):
    near = range(max(0, t - SIZE), t)
    if near:
      shares = np.exp([2.0 * ys[t] @ ys[i] for i in near])
      hit = np.array([targets[i] == target for i in near])
      p[t] = 0.7 * p[t] + 0.3 * shares[hit].sum() / shares.sum()
    nats.append(-np.log(p[t]))
  close(loss_of(adaptation.cached(*CACHE), 200, 1), np.float32(np.mean(nats)), 1e-5)


@pytest.mark.parametrize("length", [1, 4, 9])
def test_the_cache_does_not_see_where_the_text_is_cut(length):
  part = adaptation.cached(*CACHE)
  close(loss_of(part, length), loss_of(part, 200), 1e-5)


@pytest.mark.parametrize("cache", [False, True])
def test_dynamic_evaluation_scores_first_and_then_learns(cache):
  part = adaptation.cached(*CACHE) if cache else PLAIN
  params, carry, sums = PARAMS, part.start(PARAMS, LANES), []
  take = quick(jax.value_and_grad(part.loss, has_aux=True))
  for one in Lanes(TOKENS, LANES, 7):
    (_, (carry, found)), grads = take(params, carry, one)
    sums.append(found["loss"])
    params = jax.tree.map(
      lambda p, g, first: p - 0.5 * g + 0.1 * (first - p), params, grads, PARAMS
    )
  total, count = (sum(float(part[i]) for part in sums) for i in (0, 1))
  close(loss_of(adaptation.dynamic(part, 0.5, 0.1), 7), np.float32(total / count), 1e-5)
  assert loss_of(adaptation.dynamic(part, 0.5, 0.1), 7) != loss_of(part, 7)


@pytest.mark.slow
def test_draws_are_averaged_as_probabilities():
  drops = model(dropout=0.4)
  begin = lambda params, batch: start(params, batch, drops)  # noqa: E731
  one = Lanes(TOKENS, LANES, 200)[0]
  found = []
  for key in jax.random.split(jax.random.fold_in(KEY, 0), 4):
    carry = seed(begin(PARAMS, LANES), key)
    found.append(drops.apply(PARAMS, one, carry, method="log_probs")[2])
  assert np.any(found[0] != found[1])
  nats = -np.log(np.mean(np.exp(found), axis=0))
  expected = np.float32(np.sum(nats * one.weight) / np.sum(one.weight))
  close(loss_of(adaptation.averaged(drops, begin, 4, KEY), 200), expected, 1e-5)


@pytest.mark.slow
def test_a_chunk_has_draws_of_its_own():
  drops = model(dropout=0.4)
  begin = lambda params, batch: start(params, batch, drops)  # noqa: E731
  part = adaptation.averaged(drops, begin, 2, KEY)
  one = Lanes(TOKENS, LANES, 200)[0]
  again = part.start(PARAMS, LANES)._replace(chunk=jnp.int32(1))
  first, second = (
    part.loss(PARAMS, carry, one)[0] for carry in (part.start(PARAMS, LANES), again)
  )
  assert first != second
  same(part.loss(PARAMS, again, one)[0], second)
