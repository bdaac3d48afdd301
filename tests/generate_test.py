"""Laws of generation and scoring, on toy models written as Python loops below."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unroll.generate import NOISE_AHEAD, sample, shortlist
from unroll.score import score, score_sentences
from unroll.types import BadInput

V = 7  # vocabulary


def model(step):
  """`step(params, carry, token [B]) -> (carry, logits [B, V])` as an `apply`."""

  @jax.jit  # the oracles below call it once a token
  def apply(params, carry, tokens, valid=None):
    valid = jnp.ones(tokens.shape, bool) if valid is None else valid

    def hold(carry, x):
      token, alive = x
      new, logits = step(params, carry, token)

      def keep(a, b):
        return jnp.where(alive.reshape(alive.shape + (1,) * (a.ndim - 1)), a, b)

      return jax.tree.map(keep, new, carry), logits

    return jax.lax.scan(hold, carry, (tokens, valid))

  return apply


@model
def markov(table, carry, token):
  return token, table[token]


@model
def markov2(table, carry, token):
  return token, table[carry, token]


@model
def elman(params, h, token):
  x = jnp.take(params["embed"], token, axis=0)  # NaN for an id beyond the vocabulary
  h = jnp.tanh(x + h @ params["recur"])
  return h, h @ params["read"]


@model
def script(line, t, token):
  """Says its line whatever it reads, one letter a step: params `[length, B]`."""
  return t + 1, 20.0 * jax.nn.one_hot(jnp.take_along_axis(line, t[None], 0)[0], V)


def normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


MODELS = {
  "markov2": (markov2, 3 * normal(1, V, V, V), lambda b: jnp.zeros(b, jnp.int32)),
  "elman": (
    elman,
    {"embed": normal(2, V, 5), "recur": normal(3, 5, 5), "read": 3 * normal(4, 5, V)},
    lambda b: jnp.zeros((b, 5)),
  ),
}
MARKOV = normal(0, V, V)
TABLE = [pytest.param(*row, id=name) for name, row in MODELS.items()]
each_model = pytest.mark.parametrize("apply, params, init", TABLE)


def tokens_of(seed, *shape):
  return np.random.default_rng(seed).integers(V, size=shape, dtype=np.int32)


def rows(logits):
  """A Markov table that has the same next-token logits after every token."""
  return jnp.tile(jnp.asarray(logits, jnp.float32)[None], (V, 1))


def draws(logits, streams=4000, **options):
  """Many independent draws of one token from `logits [V]`."""
  prompt = jnp.zeros((1, streams), jnp.int32)
  key = jax.random.key(0)
  out = sample(markov, rows(logits), prompt[0], prompt, key, length=1, **options)
  return np.asarray(out.tokens[0])


def say(lines, stop=None):
  """Has the streams say `lines [length, B]` until the stop string."""
  line = jnp.asarray(lines, jnp.int32).T
  zeros = jnp.zeros((1, line.shape[1]), jnp.int32)
  key = jax.random.key(0)
  return sample(
    script, line, zeros[0], zeros, key, length=len(line), temperature=0, stop=stop
  )


# Sampling


@each_model
@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.5}])
def test_greedy_is_the_argmax_of_a_python_loop(apply, params, init, options):
  prompt, length = tokens_of(5, 4, 3), 9
  carry, logits = init(3), None
  for token in prompt:
    carry, logits = apply(params, carry, token[None])
  expected = []
  for _ in range(length):
    expected.append(np.argmax(logits[0], axis=-1).astype(np.int32))
    carry, logits = apply(params, carry, expected[-1][None])
  key = jax.random.key(0)
  out = sample(
    apply, params, init(3), prompt, key, length=length, temperature=0, **options
  )
  np.testing.assert_array_equal(out.tokens, np.stack(expected))
  np.testing.assert_array_equal(out.count, [length] * 3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("options", [{}, {"top_k": V - 1, "top_p": 0.999999}])
def test_frequencies_follow_the_softmax(temperature, options):
  logits = np.array([1.0, 0.2, -0.5, 0.9, 0.0, -1.0, -60.0])
  p = np.exp(logits / temperature)
  p /= p.sum()
  got = draws(logits, temperature=temperature, **options)
  seen = np.bincount(got, minlength=V)
  expected = len(got) * p
  assert seen[-1] == 0
  chi_square = np.sum((seen - expected)[:-1] ** 2 / expected[:-1])
  assert chi_square < 20.5  # 5 degrees of freedom: exceeded once in a thousand seeds


def test_frequencies_follow_the_softmax_from_step_to_step():
  zeros = jnp.zeros((1, 40), jnp.int32)
  tokens = np.asarray(
    sample(markov, MARKOV, zeros[0], zeros, jax.random.key(1), length=500).tokens
  )
  seen = np.zeros((V, V))
  np.add.at(seen, (tokens[:-1], tokens[1:]), 1)
  expected = seen.sum(1, keepdims=True) * np.asarray(jax.nn.softmax(MARKOV, axis=-1))
  assert np.sum((seen - expected) ** 2 / expected) < 76.1  # 42 degrees of freedom


def kept(logits, temperature, top_k, top_p):
  """The ids that survive, in float64 and in words: take the likeliest in turn."""
  order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
  order = order[: top_k or None]
  scaled = (np.asarray([logits[i] for i in order], np.float64)) / temperature
  p = np.exp(scaled - scaled.max())
  p /= p.sum()
  chosen, mass = [], 0.0
  for i, mass_of_i in zip(order, p):
    if top_p < 1 and mass >= top_p:
      break
    chosen.append(i)
    mass += mass_of_i
  return [i for i in chosen if logits[i] > -np.inf]


LOGITS = {
  "random": np.asarray(3 * normal(6, 50)),
  "other": np.asarray(normal(7, 50)),
  "ties": np.float32([1, 2, 2, 0, 2, 1, 0, 2]),
  "all equal": np.zeros(8, np.float32),
  "extreme": np.float32([-1e30, 1e30, 0, -1e4, 1e30, 80, -np.inf, -80]),
  "certain": np.float32([0, 0, 100, -40, 3, -300, 5, 5]),
}


@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_shortlist_keeps_exactly_the_right_set(logits, temperature):
  for top_k, top_p in itertools.product([0, 1, 3, 8, 1000], [1e-6, 0.5, 0.93, 1.0]):
    arguments = (np.float32(temperature), np.int32(top_k), np.float32(top_p))
    short, ids = map(np.asarray, jax.jit(shortlist)(logits, *arguments))
    got = ids[np.isfinite(short)].tolist()
    assert got == kept(logits, temperature, top_k, top_p), (top_k, top_p)
    np.testing.assert_array_equal(short[np.isfinite(short)], logits[got])
    assert sorted(ids.tolist()) == list(range(len(logits)))


@pytest.mark.parametrize(
  "options",
  [
    {"top_k": 2},
    {"top_p": 0.6},
    {"top_k": 3, "top_p": 0.9},
    {"temperature": 3.0, "top_p": 0.6},
    {"top_k": 5, "top_p": 0.4, "temperature": 0.7},
  ],
)
def test_every_token_of_the_shortlist_is_drawn_and_no_other(options):
  logits = np.float32([0.1, 1.3, -0.4, 1.0, 0.6, 0.0, 0.9])
  expected = kept(logits, **{"temperature": 1.0, "top_k": 0, "top_p": 1.0} | options)
  assert sorted(set(draws(logits, **options).tolist())) == sorted(expected)


def test_extremes_are_limits():
  logits = np.float32([0.1, 1.3, -0.4, 1.0, 0.6, 0.0, 0.9])
  for options in ({"top_p": 1e-300}, {"temperature": 1e-30}):
    assert set(draws(logits, **options).tolist()) == {1}
    assert set(draws(logits, forbid=(1,), top_k=3, **options).tolist()) == {3}
  for options in ({}, {"top_k": 2**31 - 1}):
    assert set(draws(logits, temperature=1e30, **options).tolist()) == set(range(7))


def test_forbidden_tokens_are_never_drawn():
  logits = np.float32([5, 4, 0, 0, 0, 0, 0])
  assert set(draws(logits, forbid=(0, 1)).tolist()) == {2, 3, 4, 5, 6}
  assert set(draws(logits, forbid=(0,), temperature=0).tolist()) == {1}
  # The cut counts only tokens that may be drawn.
  assert set(draws(logits, forbid=(0,), top_k=2).tolist()) == {1, 2}


@pytest.mark.parametrize("options", [{}, {"top_k": 3}])
def test_the_first_among_equals_is_the_likeliest(options):
  logits = np.float32([0, 2, 1, 2, 2, -1, 0])
  assert set(draws(logits, streams=5, temperature=0, **options).tolist()) == {1}


@each_model
def test_warm_up_equals_stepping_through_the_prompt(apply, params, init):
  prompt, key = tokens_of(8, 6, 2), jax.random.key(3)
  carry = init(2)
  for token in prompt[:-1]:
    carry, _ = apply(params, carry, token[None])
  stepped = sample(apply, params, carry, prompt[-1:], key, length=12)
  at_once = sample(apply, params, init(2), prompt, key, length=12)
  np.testing.assert_array_equal(stepped.tokens, at_once.tokens)
  other = sample(apply, params, init(2), prompt[:-2], key, length=12)
  assert (other.tokens != at_once.tokens).any()


@each_model
def test_the_carry_goes_on_where_the_sample_ended(apply, params, init):
  prompt, key = tokens_of(9, 3, 4), jax.random.key(4)
  greedy = functools.partial(sample, apply, params, key=key, temperature=0)
  whole = greedy(init(4), prompt, length=10)
  first = greedy(init(4), prompt, length=6)
  rest = greedy(first.carry, first.tokens[-1:], length=4)
  joined = np.concatenate([first.tokens, rest.tokens])
  np.testing.assert_array_equal(joined, whole.tokens)


def test_a_stopped_stream_goes_on_too():
  lines = [[1, 2, 3, 4, 5, 6], [3, 1, 2, 6, 4, 5], [5, 5, 5, 5, 1, 2]]
  first = say(lines, stop=[1, 2])
  np.testing.assert_array_equal(first.count, [2, 3, 6])
  np.testing.assert_array_equal(first.tokens[-1], [2, 2, 2])
  # The script's carry is its place in the line: one behind what was said.
  np.testing.assert_array_equal(first.carry, [2, 3, 6])


@pytest.mark.parametrize("b", [0, 5])
def test_a_stream_does_not_depend_on_the_others(b):
  apply, params, init = MODELS["markov2"]
  prompt, key = tokens_of(10, 3, 8), jax.random.key(5)
  options = {"length": 40, "top_k": 5, "top_p": 0.95, "stop": [1, 2]}
  draw = functools.partial(sample, apply, params, key=key, **options)
  wide = draw(init(8), prompt)
  # Streams after b are gone and those before it have another prompt.
  others = (prompt[:, :b] + 1) % V
  narrow = draw(init(b + 1), np.concatenate([others, prompt[:, b : b + 1]], axis=1))
  np.testing.assert_array_equal(narrow.tokens[:, b], wide.tokens[:, b])
  assert narrow.count[b] == wide.count[b]


def test_random_numbers_are_those_of_the_step_however_many_are_drawn_at_once():
  length, streams = 11, NOISE_AHEAD // (4 * V)  # four steps at once
  prompt, key = tokens_of(12, 1, streams), jax.random.key(6)
  drawn = sample(markov, MARKOV, prompt[0], prompt, key, length=length).tokens
  key = jax.random.fold_in(key, streams - 1)
  token = prompt[0, -1]
  for t in range(length):
    token = jax.random.categorical(jax.random.fold_in(key, t), MARKOV[token])
    assert drawn[t, -1] == token, t


def test_streams_and_keys_differ_and_a_key_reproduces():
  apply, params, init = MODELS["elman"]
  prompt = jnp.zeros((1, 6), jnp.int32)
  draw = functools.partial(sample, apply, params, init(6), prompt, length=30)
  tokens = np.asarray(draw(jax.random.key(0)).tokens)
  assert len({tuple(column) for column in tokens.T}) == 6
  np.testing.assert_array_equal(draw(jax.random.key(0)).tokens, tokens)
  assert (np.asarray(draw(jax.random.key(1)).tokens) != tokens).any(axis=0).all()


@pytest.mark.parametrize(
  "line, stop, count",
  [
    ([1, 2, 3, 4, 5], [2, 3], 3),
    ([1, 2, 3, 4, 5], [4, 5], 5),  # at the very end
    ([1, 2, 3, 4, 5], [1], 1),  # at once
    ([1, 2, 3, 4, 5], [3, 2], 5),  # never
    ([1, 1, 2, 1, 1], [1, 2], 3),  # after a false start
    ([1, 2, 1, 2, 3], [1, 2, 3], 5),  # two starts overlap
    ([1, 1, 1, 1, 2], [1, 1], 2),  # the string overlaps itself
    ([0, 0, 1, 2, 3], [0, 0, 0], 5),  # the prompt's 0 is not generated
    ([0, 1, 2, 3, 4], [5, 5, 5, 5, 5, 5, 5], 5),  # longer than the sample
    ([1, 2, 3, 4, 5], None, 5),
  ],
)
def test_stop_string(line, stop, count):
  # A second stream never stops, so that the loop goes on past the first one's end.
  out = say([line, [6] * 5], stop)
  assert out.count.tolist() == [count, 5]
  said = line[:count] + line[count - 1 : count] * (5 - count)
  np.testing.assert_array_equal(out.tokens.T, [said, [6] * 5])


def test_the_loop_ends_when_every_stream_has_stopped():
  steps = []

  def counting(params, carry, tokens, valid=None):
    jax.debug.callback(lambda: steps.append(1))
    return script(params, carry, tokens, valid)

  line = jnp.asarray([[1, 5], [2, 3]] + [[3, 4]] * 18)
  zeros, key = jnp.zeros((1, 2), jnp.int32), jax.random.key(0)
  options = {"length": 20, "temperature": 0, "stop": [3]}
  out = sample(counting, line, zeros[0], zeros, key, **options)
  jax.effects_barrier()
  assert len(steps) == 3
  np.testing.assert_array_equal(out.count, [3, 2])
  np.testing.assert_array_equal(out.tokens, [[1, 5], [2, 3]] + [[3, 3]] * 18)


def test_one_program_for_all_prompts_of_a_shape():
  traces = []

  def counting(params, carry, tokens, valid=None):
    traces.append(tokens.shape)
    return markov2(params, carry, tokens, valid)

  _, params, init = MODELS["markov2"]
  draw = functools.partial(sample, counting, params, init(2), length=6)
  draw(tokens_of(0, 5, 2), jax.random.key(0))
  first = list(traces)
  for seed, options in enumerate(
    [{"temperature": 0.5}, {"temperature": 0}, {"temperature": 2, "stop": [1]}]
  ):
    draw(tokens_of(seed, 5, 2), jax.random.key(seed), **options)
  assert set(first) == {(4, 2), (1, 2)}
  assert traces == first


@pytest.mark.parametrize(
  "wrong",
  [
    {"temperature": -0.1},
    {"temperature": float("nan")},
    {"temperature": float("inf")},
    {"top_k": -1},
    {"top_p": 0.0},
    {"top_p": 1.1},
    {"top_p": float("nan")},
    {"length": 0},
    {"prompt": np.zeros((0, 2), np.int32)},
    {"temperature": 1e31},
    {"temperature": 1e-31},
    {"top_k": 2**31},
    {"length": 2**31},
    {"prompt": np.zeros(3, np.int32)},
    {"prompt": np.zeros((3, 2), np.float32)},
    {"stop": []},
    {"stop": [[1, 2]]},
    {"forbid": [V]},
    {"forbid": [-1]},
    {"forbid": range(V)},
  ],
  ids=str,
)
def test_bad_input_is_named(wrong):
  right = {"prompt": np.zeros((1, 2), np.int32), "key": jax.random.key(0), "length": 3}
  with pytest.raises(BadInput, match=rf"^{next(iter(wrong))} is "):
    sample(markov, MARKOV, jnp.zeros(2, jnp.int32), **right | wrong)


# Scoring


log_softmax = jax.jit(jax.nn.log_softmax)


def log_prob_by_steps(apply, params, carry, tokens):
  """Sum over `tokens[1:]` of log softmax, one step at a time; tokens `[n]`."""
  total = 0.0
  for token, target in itertools.pairwise(tokens):
    carry, logits = apply(params, carry, np.full((1, 1), token, np.int32))
    total += np.asarray(log_softmax(logits[0, 0]))[target]
  return total


def padded_batch(lengths, junk):
  """Tokens and mask of sentences of these lengths; `junk` stands on the padding."""
  tokens = tokens_of(11, max(lengths) + 2, len(lengths))
  valid = np.arange(len(tokens))[:, None] < np.asarray(lengths)[None]
  return np.where(valid, tokens, np.int32(junk)), valid


@each_model
def test_score_equals_summing_log_softmax_step_by_step(apply, params, init):
  lengths = [9, 1, 4, 2]
  tokens, valid = padded_batch(lengths, junk=0)
  got = score(apply, params, init(4), tokens, valid)
  expected = [
    log_prob_by_steps(apply, params, init(1), tokens[:n, b])
    for b, n in enumerate(lengths)
  ]
  np.testing.assert_allclose(got.log_prob, expected, rtol=1e-5)
  np.testing.assert_array_equal(got.count, [8, 0, 3, 1])


@each_model
@pytest.mark.parametrize("junk", [3, V - 1, -1, 10**6])
def test_junk_on_padding_changes_nothing(apply, params, init, junk):
  clean = score(apply, params, init(4), *padded_batch([9, 1, 4, 2], junk=0))
  dirty = score(apply, params, init(4), *padded_batch([9, 1, 4, 2], junk=junk))
  jax.tree.map(np.testing.assert_array_equal, clean, dirty)


@each_model
def test_padding_may_stand_before_the_sentence(apply, params, init):
  tokens, valid = padded_batch([5, 5], junk=3)
  clean = score(apply, params, init(2), tokens, valid)
  shifted = score(apply, params, init(2), np.roll(tokens, 2, 0), np.roll(valid, 2, 0))
  np.testing.assert_array_equal(shifted.count, [4, 4])
  np.testing.assert_allclose(shifted.log_prob, clean.log_prob, rtol=1e-6)


def test_score_refuses_what_it_cannot_score():
  carry = jnp.zeros(2, jnp.int32)
  tokens, valid = padded_batch([3, 2], junk=0)
  for wrong in [(tokens[:1], valid[:1]), (tokens, valid[:-1])]:
    with pytest.raises(ValueError, match=r"tokens is .* and valid "):
      score(markov, MARKOV, carry, *wrong)


@each_model
@pytest.mark.parametrize("context", [[2], [4, 0, 2]])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_sentences_of_mixed_lengths_equal_one_by_one(
  apply, params, init, context, batch_size
):
  lengths = [5, 0, 1, 8, 3, 7, 2, 15, 4, 16]
  sentences = [tokens_of(20 + i, n) for i, n in enumerate(lengths)]
  got = score_sentences(
    apply, params, init(batch_size), sentences, context=context, batch_size=batch_size
  )
  np.testing.assert_array_equal(got.count, lengths)
  of_context = log_prob_by_steps(apply, params, init(1), context)
  expected = [
    log_prob_by_steps(apply, params, init(1), [*context, *sentence]) - of_context
    for sentence in sentences
  ]
  np.testing.assert_allclose(got.log_prob, expected, rtol=1e-4, atol=1e-5)


def test_few_programs_for_many_lengths():
  traces = []

  def counting(params, carry, tokens, valid=None):
    traces.append(len(tokens))
    return markov(params, carry, tokens, valid)

  carry = jnp.zeros(8, jnp.int32)
  sentences = [tokens_of(n, n) for n in range(40)]
  got = score_sentences(counting, MARKOV, carry, sentences, context=[1], batch_size=8)
  np.testing.assert_array_equal(got.count, range(40))
  assert sorted(traces) == [1, 3, 7, 15, 31, 63]


def test_nothing_to_score_and_nothing_to_score_it_by():
  carry = jnp.zeros(2, jnp.int32)
  empty = score_sentences(markov, MARKOV, carry, [], context=[1], batch_size=2)
  assert empty.log_prob.shape == empty.count.shape == (0,)
  with pytest.raises(BadInput, match=r"^context is empty"):
    score_sentences(markov, MARKOV, carry, [], context=[], batch_size=2)
