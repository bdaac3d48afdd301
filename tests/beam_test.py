"""Laws of beam search, on toy models, against one written as Python loops below."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unroll.beam import UNREAD, search
from unroll.generate import sample
from unroll.largest import largest
from unroll.types import BadInput, Draw

V, S, H, STOP = 7, 4, 5, 2
K = 3


def normal(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def table(params, context, carry, tokens):
  """The next token depends on the last two, and on the sentence."""
  logits = params["table"][carry["last"], tokens] + context["bias"]
  weights = jax.nn.softmax(
    jnp.where(context["valid"], params["read"][tokens] + context["places"], -jnp.inf)
  )
  return {"last": tokens, "draw": carry["draw"]}, logits, weights


def gru(params, context, carry, tokens):
  """A gated unit that reads places of its sentence."""
  x, h = params["embed"][tokens], carry["h"]
  gate = jax.nn.sigmoid(x @ params["gate"] + h @ params["keep"])
  new = gate * h + (1 - gate) * jnp.tanh(x + h @ params["recur"])
  scores = jnp.einsum("rh,rsh->rs", new, context["memory"])
  weights = jax.nn.softmax(jnp.where(context["valid"], scores, -jnp.inf))
  memory = jnp.where(context["valid"][..., None], context["memory"], 0)
  read = jnp.einsum("rs,rsh->rh", weights, memory)
  logits = (new + read) @ params["out"]
  return {"h": new, "draw": carry["draw"]}, logits, weights


DRAW = Draw(None, jnp.zeros((), jnp.int32))


def of_table(batch, seed=0):
  params = {"table": 2 * normal(seed, V, V, V), "read": normal(seed + 1, V, S)}
  context = {
    "bias": normal(seed + 2, batch, V),
    "places": normal(seed + 3, batch, S),
    "valid": np.arange(S) < np.arange(batch)[:, None] % S + 1,
  }
  return table, params, context, {"last": np.arange(batch) % V, "draw": DRAW}


def of_gru(batch, seed=0):
  shapes = {"embed": (V, H), "gate": (H, H), "keep": (H, H), "recur": (H, H)}
  shapes["out"] = (H, V)
  params = {
    name: 1.5 * normal(seed + n, *shape)
    for n, (name, shape) in enumerate(shapes.items())
  }
  context = {
    "memory": normal(seed + 9, batch, S, H),
    "valid": np.arange(S) < np.arange(batch)[:, None] % S + 1,
  }
  return gru, params, context, {"h": normal(seed + 8, batch, H), "draw": DRAW}


MODELS = {"table": of_table, "gru": of_gru}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
STEPS = {table: jax.jit(table), gru: jax.jit(gru)}


def row(tree, b):
  """One sentence of a context or a carry."""
  return {
    name: leaf if name == "draw" else np.asarray(leaf)[b : b + 1]
    for name, leaf in tree.items()
  }


def plain(step, params, context, carry, first, *, beams, length, best, **options):
  """The beam search of a sentence, one hypothesis at a time: (tokens, log p, score)."""
  alpha, beta = options.get("length_penalty", 0), options.get("coverage_penalty", 0)
  valid = context["valid"][0]

  def score(log_prob, tokens, read):
    covered = np.log(np.clip(read[valid], UNREAD, 1)).sum() if beta else 0
    return log_prob / ((5 + len(tokens)) / 6) ** alpha + beta * covered

  live, done = [(0.0, [], carry, np.zeros(S))], []
  for t in range(length):
    candidates = []
    for log_prob, tokens, state, read in live:
      last = np.array([tokens[-1] if tokens else first])
      state, logits, weights = STEPS[step](params, context, state, last)
      logits = np.asarray(logits, np.float64)[0]
      log_probs = logits - np.log(np.exp(logits).sum())
      for token in range(V):
        stops_early = token == STOP and t + 1 < options.get("shortest", 1)
        if token not in options.get("forbid", ()) and not stops_early:
          new = (log_prob + log_probs[token], [*tokens, token])
          candidates.append((*new, state, read + np.asarray(weights)[0]))
    candidates.sort(key=lambda one: -one[0])
    taken = candidates[: beams - len(done)]
    done += [one for one in taken if one[1][-1] == STOP]
    live = [one for one in taken if one[1][-1] != STOP]
  found = [(tokens, p, score(p, tokens, read)) for p, tokens, _, read in done + live]
  return sorted(found, key=lambda one: -one[2])[:best]


OPTIONS = {
  "plain": {},
  "greedy": {"beams": 1, "best": 1},
  "wide": {"beams": 2 * V, "best": 5},
  "long": {"length_penalty": 1.0},
  "short": {"length_penalty": -0.7},
  "covering": {"coverage_penalty": 0.4, "length_penalty": 0.6},
  "one token": {"length": 1},
  "no token is alone": {"forbid": (1, 4), "shortest": 3},
}


@pytest.mark.parametrize(
  "model, options",
  [
    pytest.param(model, OPTIONS[name], id=f"{model.__name__} {name}")
    for model in MODELS.values()
    # A program is compiled for each pair: the second model does without some.
    for name in (OPTIONS if model == of_table else ("long", "covering"))
  ],
)
def test_it_is_the_search_of_each_sentence_by_itself(model, options):
  batch = 4
  options = {"beams": K, "length": 6, "best": 2} | options
  step, params, context, carry = model(batch)
  first = np.arange(batch, dtype=np.int32)[::-1].copy()
  limits = np.array([6, 3, 6, 5])
  found = search(
    *(step, params, context, carry, first),
    **({"stop": STOP, "limits": limits, "valid": context["valid"]} | options),
  )
  found = jax.tree.map(np.asarray, found)
  counts = set()
  for b in range(batch):
    own = options | {"length": min(int(limits[b]), options["length"])}
    expected = plain(step, params, row(context, b), row(carry, b), first[b], **own)
    assert len(expected) == min(options["best"], len(expected))
    for n, (tokens, log_prob, score) in enumerate(expected):
      count = found.count[n, b]
      counts.add(int(count))
      assert found.tokens[n, b, :count].tolist() == tokens, (b, n)
      assert (found.tokens[n, b, count:] == STOP).all()
      np.testing.assert_allclose(found.log_prob[n, b], log_prob, atol=1e-5)
      np.testing.assert_allclose(found.score[n, b], score, atol=1e-5)
    missing = slice(len(expected), None)
    assert (found.log_prob[missing, b] == -np.inf).all()
    assert (found.score[missing, b] == -np.inf).all()
    assert not found.count[missing, b].any()
  assert len(counts) > 1 or options["length"] == 1


@each_model
def test_one_beam_is_greedy_sampling(model):
  step, params, context, carry = model(4)
  del carry["draw"]

  def apply(params, carry, tokens, valid=None):
    new, logits, _ = step(params, context, carry | {"draw": DRAW}, tokens[0])
    del new["draw"]
    return new, logits[None]

  first = np.arange(4, dtype=np.int32)
  drawn = sample(
    *(apply, params, carry, first[None], jax.random.key(0)),
    length=9,
    temperature=0,
    stop=[STOP],
  )
  carry["draw"] = DRAW
  for penalty in (0.0, 2.0):
    found = search(
      *(step, params, context, carry, first),
      **{"beams": 1, "length": 9, "stop": STOP, "length_penalty": penalty},
    )
    np.testing.assert_array_equal(found.count[0], drawn.count)
    for b, count in enumerate(np.asarray(drawn.count)):
      np.testing.assert_array_equal(found.tokens[0, b, :count], drawn.tokens[:count, b])


def chosen(tree, rows):
  return {k: leaf if k == "draw" else leaf[rows] for k, leaf in tree.items()}


@each_model
def test_neighbours_order_and_padding_change_nothing(model):
  step, params, context, carry = model(5)
  first = np.arange(5, dtype=np.int32)
  options = {"beams": K, "length": 6, "stop": STOP, "best": K}
  options |= {"coverage_penalty": 0.3, "length_penalty": 0.8}
  whole = search(
    *(step, params, context, carry, first), **options, valid=context["valid"]
  )
  padded = {
    name: np.where(
      context["valid"].reshape(leaf.shape[:2] + (1,) * (leaf.ndim - 2)), leaf, 77
    )
    if name in ("memory", "places")
    else leaf
    for name, leaf in context.items()
  }
  for rows in ([4, 2, 0, 3, 1], [1]):
    own = chosen(padded, rows)
    part = search(
      *(step, params, own, chosen(carry, rows), first[rows]),
      **options,
      valid=own["valid"],
    )
    np.testing.assert_array_equal(part.tokens, whole.tokens[:, rows])
    np.testing.assert_array_equal(part.count, whole.count[:, rows])
    np.testing.assert_allclose(part.log_prob, whole.log_prob[:, rows], rtol=1e-5)
    np.testing.assert_allclose(part.score, whole.score[:, rows], rtol=1e-5)


def script(params, context, carry, tokens):
  """Logits `[T, V]` in turn, whatever is read; counts its steps."""
  jax.debug.callback(lambda: STEPPED.append(1))
  logits = jnp.take_along_axis(context, carry[:, None, None], axis=1)[:, 0]
  return carry + 1, params + logits, None


STEPPED: list[int] = []


def scripted(logits, params=0.0, **options):
  logits = jnp.asarray(logits)
  batch = len(logits)
  first = carry = np.zeros(batch, np.int32)
  options = {"beams": K, "length": logits.shape[1], "stop": STOP} | options
  STEPPED.clear()
  found = search(script, params, logits, carry, first, **options)
  jax.effects_barrier()
  return found


def test_the_loop_ends_with_the_last_sentence():
  logits = np.zeros((3, 9, V), np.float32)
  logits[..., STOP] = -50
  logits[0, 0, 0] = logits[2, :3, 0] = logits[0, 1, STOP] = logits[2, 3, STOP] = 20
  logits[1] -= np.arange(V)
  # The first sentence cannot do better after two steps, nor the last after four.
  found = scripted(logits, limits=np.array([9, 0, 9]))
  assert len(STEPPED) == 4
  np.testing.assert_array_equal(found.count, [[2, 0, 4]])
  np.testing.assert_array_equal(found.log_prob[0, 1], 0)


def test_equal_logits_are_taken_in_order_and_half_precision_is_read():
  logits = np.zeros((1, 2, V))
  found = scripted(jnp.asarray(logits, jnp.bfloat16), best=3)
  np.testing.assert_array_equal(found.tokens[:, 0], [[2, 2], [0, 0], [0, 1]])
  np.testing.assert_allclose(
    found.log_prob[:, 0], -np.log(V) * np.array([1, 2, 2]), rtol=1e-6
  )


def test_what_a_float_of_log_probability_cannot_tell_apart_is_told_apart():
  logits = np.zeros((1, 1, V), np.float32)
  logits[0, 0, 5] = 1e-9
  assert scripted(logits, beams=1).tokens[0, 0, 0] == 5


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_told_and_stays_in_its_sentence(wrong):
  logits = normal(0, 3, 4, V)
  logits[..., STOP] = -50
  clean = scripted(logits, best=2)
  logits[1, 2, 4] = wrong
  found = scripted(logits, best=2)
  assert np.isnan(found.log_prob[:, 1]).all() and np.isnan(found.score[:, 1]).all()
  rows = np.array([0, 2])
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(clean), strict=True):
    np.testing.assert_array_equal(a[:, rows], b[:, rows])
  # After its end a sentence may read anything.
  logits[1] = -50
  logits[1, 0, STOP], logits[1, 1:] = 50, wrong
  assert np.isfinite(scripted(logits, beams=1).score).all()


def test_no_sentences():
  found = scripted(np.zeros((0, 3, V), np.float32))
  assert found.tokens.shape == (1, 0, 3) and not STEPPED


def test_other_numbers_run_the_same_program():
  traces = []

  def counting(params, context, carry, tokens):
    traces.append(len(tokens))
    return table(params, context, carry, tokens)

  for seed in range(3):
    _, params, context, carry = of_table(2, seed)
    search(
      *(counting, params, context, carry, np.full(2, seed)),
      **{"beams": K, "length": 4, "stop": STOP, "length_penalty": seed / 3},
      **{"coverage_penalty": 0.1 + seed, "shortest": seed, "limits": np.full(2, 4)},
    )
    first = traces if seed else list(traces)
    assert traces == first
  assert set(traces) == {2 * K}


@pytest.mark.parametrize("size, k", [(1, 1), (40, 3), (200, 3), (500, 5)])
def test_the_largest_are_those_of_a_sort(size, k):
  random = np.random.default_rng(size)
  rows = random.integers(9, size=(6, size)).astype(np.float32)
  rows[0, size // 2 :] = -np.inf
  rows[1] = -np.inf
  rows[2] = np.arange(size) == size - 1
  value, place = largest(jnp.asarray(rows), k)
  order = np.argsort(-rows, axis=1, kind="stable")[:, :k]
  np.testing.assert_array_equal(place, order)
  np.testing.assert_array_equal(value, np.take_along_axis(rows, order, 1))


@pytest.mark.parametrize(
  "wrong, said",
  [
    ({"beams": 0}, "beams is 0"),
    ({"length": 0}, "length is 0"),
    ({"best": K + 1}, "raise beams"),
    ({"length_penalty": np.nan}, "length_penalty is nan"),
    ({"coverage_penalty": -1.0}, "coverage_penalty is -1"),
    ({"coverage_penalty": 1.0}, "this model reads none"),
    ({"stop": V}, "stop is 7"),
    ({"forbid": range(V)}, "at least one token"),
    ({"limits": np.zeros(3)}, "a limit for each sentence"),
  ],
)
def test_wrong_arguments(wrong, said):
  with pytest.raises(BadInput, match=said):
    scripted(np.zeros((2, 3, V), np.float32), **wrong)
