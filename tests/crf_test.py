"""Laws of the CRF: the sum over all paths, the best of them, what is forbidden."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, quick

from unroll import crf

T, N = 5, 3
# Of each sequence: which steps are real.
VALID = np.array(
  [
    [1, 1, 1, 1, 1],
    [1, 1, 1, 0, 0],
    [0, 1, 0, 1, 1],
    [0, 0, 1, 0, 0],
    [1, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
  ],
  bool,
).T
B = VALID.shape[1]
DRAW = np.random.default_rng(5)
EMISSIONS = DRAW.normal(0, 2, (T, B, N)).astype(np.float32)
FREE = DRAW.normal(size=(N + 1, N + 1)).astype(np.float32)
ALLOWED = np.array(
  [[1, 0, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 1]], bool
)  # the last row is for starts, the last column for ends
TRANSITIONS = {"free": FREE, "constrained": np.where(ALLOWED, FREE, crf.FORBIDDEN)}
LABELS = np.where(VALID, np.array([1, 2, 0, 0, 1])[:, None], 99)  # allowed in all
BAD = np.where(VALID[..., None], EMISSIONS, np.nan)
both = pytest.mark.parametrize("kind", TRANSITIONS)


def paths(column, kind):
  """Every path of a sequence and its score, in float64."""
  moves = TRANSITIONS[kind].astype(np.float64)
  steps = np.flatnonzero(VALID[:, column])
  found = {}
  for path in itertools.product(range(N), repeat=len(steps)):
    score = sum(float(EMISSIONS[t, column, k]) for t, k in zip(steps, path))
    whole = [N, *path, N] if path else []
    found[path] = score + sum(moves[a, b] for a, b in itertools.pairwise(whole))
  return steps, found


@both
@pytest.mark.parametrize("backward", ["fast", "autodiff"])
def test_the_partition_is_the_sum_over_all_paths(kind, backward):
  run = quick(lambda *given: crf.log_partition(*given, backward))
  found = run(TRANSITIONS[kind], BAD, VALID)
  wanted = [np.logaddexp.reduce(list(paths(b, kind)[1].values())) for b in range(B)]
  close(found, np.array(wanted), 1e-5)
  assert found[-1] == 0  # of the empty sequence


@both
def test_the_likelihood_is_that_of_the_path(kind):
  found = quick(crf.log_likelihood)(TRANSITIONS[kind], BAD, LABELS, VALID)
  wanted = []
  for b in range(B):
    steps, scores = paths(b, kind)
    total = np.logaddexp.reduce(list(scores.values()))
    wanted.append(scores[tuple(LABELS[steps, b].tolist())] - total)
  close(found, np.array(wanted), 1e-5)


@both
def test_the_best_path_is_the_best_of_all(kind):
  found = quick(crf.viterbi)(TRANSITIONS[kind], BAD, VALID)
  for b in range(B):
    steps, scores = paths(b, kind)
    best = max(scores, key=scores.__getitem__)
    assert tuple(found.labels[steps, b].tolist()) == best
    assert found.score[b] == pytest.approx(scores[best], rel=1e-5)
  assert found.labels.dtype == jnp.int32 and not np.any(found.labels[~VALID])


@both
def test_marginals_are_shares_of_all_paths(kind):
  found = quick(crf.marginals)(TRANSITIONS[kind], BAD, VALID)
  wanted = np.zeros((T, B, N))
  for b in range(B):
    steps, scores = paths(b, kind)
    total = np.logaddexp.reduce(list(scores.values()))
    for path, score in scores.items():
      for t, k in zip(steps, path):
        wanted[t, b, k] += np.exp(score - total)
  close(found, wanted, 1e-5)
  assert not np.any(found[~VALID])


def test_the_gradient_is_that_of_the_sum_over_all_paths():
  def ours(moves, emissions):
    moves = crf.constrained(moves, ALLOWED)
    emissions = jnp.where(VALID[..., None], emissions, jnp.nan)
    return jnp.sum(crf.log_likelihood(moves, emissions, LABELS, VALID))

  def by_paths(moves, emissions):
    moves, total = crf.constrained(moves, ALLOWED), 0.0
    for b in range(B - 1):
      steps = np.flatnonzero(VALID[:, b])
      every = np.array(list(itertools.product(range(N), repeat=len(steps))))
      edges = np.full((len(every), 1), N)
      whole = np.concatenate([edges, every, edges], axis=1)
      scores = jnp.sum(emissions[steps, b][np.arange(len(steps)), every], 1)
      scores += jnp.sum(moves[whole[:, :-1], whole[:, 1:]], 1)
      own = int(np.flatnonzero((every == LABELS[steps, b]).all(1))[0])
      total += scores[own] - jax.nn.logsumexp(scores)
    return total

  given = (jnp.asarray(FREE), jnp.asarray(EMISSIONS))
  found, wanted = (quick(jax.grad(f, (0, 1)))(*given) for f in (ours, by_paths))
  close(found, wanted, 1e-4)
  assert not np.any(found[0][~ALLOWED]) and not np.any(found[1][~VALID])


def test_derivatives_of_both_modes_agree():
  def found(backward, given):
    return crf.log_likelihood(*given, LABELS, VALID, backward)

  draw = np.random.default_rng(6)
  given = (FREE, EMISSIONS)
  to = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype("f4"), given)
  back = draw.normal(size=B).astype(np.float32)

  @quick
  def both_ways(given, to):
    forward = jax.jvp(lambda at: found("autodiff", at), (given,), (to,))[1]
    [reverse] = jax.vjp(lambda at: found("fast", at), given)[1](jnp.asarray(back))
    return jnp.vdot(forward, back), sum(map(jnp.vdot, reverse, to))

  close(*both_ways(given, to), 1e-4)


def test_what_is_forbidden_is_never_taken():
  """Neither by the best path, nor in the sum, whatever the emissions want."""
  wanting = EMISSIONS + 1e4 * np.array(
    [0, 1, 0], np.float32
  )  # 1 follows 1 or the start
  moves = TRANSITIONS["constrained"]
  labels = np.asarray(quick(crf.viterbi)(moves, wanting, VALID).labels)
  for b in range(B - 1):
    path = labels[VALID[:, b], b].tolist()
    assert all(ALLOWED[a, c] for a, c in itertools.pairwise([N, *path, N])), path
  against = LABELS.copy()
  against[1:3] = 2  # 2 after 2
  found = quick(crf.log_likelihood)(moves, EMISSIONS, against, VALID)
  assert found[0] < -1e8 and np.isfinite(found).all()


def test_a_label_that_nothing_leads_to_leaves_gradients_finite():
  alone = ALLOWED.copy()
  alone[:, 1] = False

  def total(moves, emissions):
    return jnp.sum(crf.log_partition(crf.constrained(moves, alone), emissions, VALID))

  grads = quick(jax.grad(total, (0, 1)))(jnp.asarray(FREE), jnp.asarray(EMISSIONS))
  assert all(np.isfinite(grad).all() for grad in grads)
  assert not np.any(grads[1][..., 1])


@pytest.mark.parametrize("steps", [1, 2])
def test_short_sequences_need_no_mask(steps):
  emissions, labels = EMISSIONS[:steps], LABELS[:steps] % N
  whole = np.ones((steps, B), bool)

  @quick
  def found(*mask):
    likelihood = crf.log_likelihood(FREE, emissions, labels, *mask)
    marginals = crf.marginals(FREE, jnp.asarray(emissions), *mask)
    return likelihood, marginals, crf.viterbi(FREE, emissions, *mask)

  close(found(), found(whole), 1e-6)


def test_of_equal_paths_the_lowest_labels_are_taken():
  nothing = np.zeros((N + 1, N + 1), np.float32)
  found = quick(crf.viterbi)(nothing, np.zeros((T, B, N), np.float32))
  assert not np.any(found.labels)


def test_transitions_of_other_labels_are_refused():
  with pytest.raises(ValueError, match=r"transitions \(3, 3\) do not fit emissions"):
    crf.log_partition(np.zeros((3, 3)), EMISSIONS)


def test_a_sum_in_half_precision_is_taken_in_float32():
  run = quick(crf.log_partition)
  found = run(FREE, jnp.asarray(EMISSIONS, jnp.bfloat16), VALID)
  assert found.dtype == jnp.float32
  rounded = np.asarray(jnp.asarray(EMISSIONS, jnp.bfloat16), np.float32)
  close(found, run(FREE, rounded, VALID), 1e-6)
