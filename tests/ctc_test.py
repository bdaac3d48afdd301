"""Laws of CTC: the sum over all paths, its gradient, and the labels that are found."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import close, quick

from unroll import ctc

T, C, L, BLANK = 5, 3, 3, 1
# Of each sequence: its real steps, and its labels.
ROWS = (
  ([1, 1, 1, 1, 1], (0, 2)),
  ([1, 1, 1, 1, 1], (2, 2, 0)),
  ([1, 1, 1, 1, 0], (2, 2)),
  ([1, 0, 1, 1, 0], (0, 2, 0)),
  ([1, 1, 1, 0, 0], (2,)),
  ([0, 1, 1, 0, 1], ()),
  ([1, 0, 0, 0, 0], (0,)),
  ([0, 0, 0, 0, 0], ()),
  ([0, 0, 0, 0, 0], (2,)),  # impossible, as are the next two
  ([1, 1, 0, 0, 0], (0, 0)),
  ([1, 1, 0, 0, 0], (0, 2, 0)),
)
IMPOSSIBLE = np.arange(len(ROWS)) >= 8
VALID = np.array([steps for steps, _ in ROWS], bool).T
LABEL_VALID = np.array([[n < len(own) for _, own in ROWS] for n in range(L)])
LABELS = np.full(LABEL_VALID.shape, 99)
for row, (_, own) in enumerate(ROWS):
  LABELS[: len(own), row] = own
B = len(ROWS)
LOGITS = np.random.default_rng(3).normal(0, 2, (T, B, C))
BAD = np.where(VALID[..., None], LOGITS, np.nan).astype(np.float32)
likelihood = functools.partial(ctc.log_likelihood, blank=BLANK)


@functools.cache
def every(row):
  """The probability of every labelling of a sequence, by all of its paths."""
  own = LOGITS[VALID[:, row], row]
  shares = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
  found = collections.Counter()
  for path in itertools.product(range(C), repeat=len(own)):
    merged = [a for a, _ in itertools.groupby(path)]
    found[tuple(a for a in merged if a != BLANK)] += np.prod(
      shares[np.arange(len(path)), list(path)]
    )
  return found


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
def test_the_likelihood_is_the_sum_over_all_paths(backward):
  run = quick(functools.partial(likelihood, backward=backward))
  found = run(BAD, LABELS, VALID, LABEL_VALID)
  shares = np.array([every(row)[own] for row, (_, own) in enumerate(ROWS)])
  np.testing.assert_array_equal(shares == 0, IMPOSSIBLE)
  close(found[~IMPOSSIBLE], np.log(shares[~IMPOSSIBLE]), 1e-5)
  assert np.all(found[IMPOSSIBLE] == -np.inf)


@pytest.mark.parametrize(
  "backward", ["fast", pytest.param("autodiff", marks=pytest.mark.slow)]
)
def test_the_gradient_is_that_of_finite_differences(backward):
  weight = np.linspace(0.5, 2, B)
  with jax.enable_x64(True):

    @jax.jit
    def total(logits):
      found = likelihood(logits, LABELS, VALID, LABEL_VALID, backward=backward)
      return jnp.sum(jnp.where(IMPOSSIBLE, 0, found) * weight)

    given = jnp.where(VALID[..., None], LOGITS, jnp.nan)
    found = np.asarray(jax.jit(jax.grad(total))(given))
    steps = 1e-5 * np.eye(LOGITS.size).reshape(-1, *LOGITS.shape)
    both = jax.jit(jax.vmap(lambda s: total(given + s) - total(given - s)))(steps)
  close(found, np.asarray(both).reshape(found.shape) / 2e-5, 1e-7)
  assert not np.any(found[~VALID]) and not np.any(found[:, IMPOSSIBLE])


def test_an_impossible_labelling_has_no_gradient():
  def total(logits):
    return jnp.sum(likelihood(logits, LABELS, VALID, LABEL_VALID))

  found = quick(jax.grad(total))(jnp.asarray(BAD))
  assert np.isfinite(found).all() and not np.any(found[:, IMPOSSIBLE])
  assert np.any(found[:, ~IMPOSSIBLE])


def test_a_class_that_is_ruled_out_leaves_the_rest_as_it_is():
  ruled = jnp.asarray(BAD).at[2, :, 0].set(-jnp.inf)
  own = (LABELS[:2, :1], VALID[:, :1])
  run = quick(jax.value_and_grad(lambda x: likelihood(x, *own)[0]))
  value, found = run(ruled[:, :1])
  far = run(jnp.asarray(BAD).at[2, :, 0].set(-1e4)[:, :1])
  close((value, found), far, 1e-6)
  assert np.isfinite(value) and np.isfinite(found).all()


@pytest.mark.slow
def test_it_is_that_of_optax():
  """Which wants the padding at the end, batch first, and has no word for impossible."""
  draw = np.random.default_rng(4)
  steps, labels, classes, batch = 40, 9, 7, 6
  logits = draw.normal(0, 3, (steps, batch, classes))
  own = draw.integers(1, classes, (labels, batch))
  valid = np.arange(steps)[:, None] < draw.integers(25, steps + 1, batch)
  counts = np.arange(labels)[:, None] < np.arange(4, 4 + batch)

  def ours(logits):
    found = -ctc.log_likelihood(logits, own, valid, counts)
    return jnp.sum(found), found

  def theirs(logits):
    first = jnp.swapaxes(logits, 0, 1)
    found = optax.ctc_loss(first, 1.0 - valid.T, own.T, 1.0 - counts.T)
    return jnp.sum(found), found

  # In float32 its gradient is off by 1e-5, of 40 steps, and ours by 4e-6.
  promotion = jax.numpy_dtype_promotion("standard")  # it mixes types
  with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), promotion:
    found, wanted = (jax.jit(jax.grad(f, has_aux=True))(logits) for f in (ours, theirs))
  close(found, wanted, 1e-5)


def test_neighbours_and_padding_change_nothing():
  run = quick(jax.value_and_grad(lambda *given: jnp.sum(likelihood(*given)[:1])))
  row = 3
  order = [row, *(r for r in range(B) if r != row)]
  masks = (VALID[:, order], LABEL_VALID[:, order])
  value, found = run(jnp.asarray(BAD[:, order]), LABELS[:, order], *masks)
  real, own = VALID[:, row], np.array(ROWS[row][1])[:, None]
  alone = run(jnp.asarray(BAD[real, row : row + 1]), own)
  close((value, found[real, :1]), alone, 1e-6)
  assert not np.any(found[:, 1:]) and not np.any(found[~real])


def test_none_is_no_padding():
  whole = (np.ones((T, 1), bool), np.ones((L, 1), bool))
  given = (LOGITS[:, 1:2].astype(np.float32), LABELS[:, 1:2])
  close(quick(likelihood)(*given), quick(likelihood)(*given, *whole), 1e-6)


@pytest.mark.parametrize("steps, labels", [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)])
def test_sizes_of_0_and_1(steps, labels):
  logits = LOGITS[:steps, :2].astype(np.float32)
  own = np.array([[0, 2], [2, 0]])[:labels]
  found, slope = quick(jax.value_and_grad(lambda x: jnp.sum(likelihood(x, own))))(
    jnp.asarray(logits)
  )
  assert slope.shape == logits.shape and np.isfinite(slope).all()
  if labels > steps:
    assert found == -np.inf
  elif steps == 0:
    assert found == 0
  else:
    one = own[0] if labels else [BLANK, BLANK]
    close(found, jax.nn.log_softmax(logits[0])[np.arange(2), one].sum(), 1e-6)


@pytest.mark.slow
def test_both_modes_of_derivatives_agree():
  to = np.random.default_rng(6).normal(size=BAD.shape).astype(np.float32)
  good = slice(0, 8)

  def found(logits, backward):
    given = (logits, LABELS[:, good], VALID[:, good], LABEL_VALID[:, good])
    return jnp.sum(likelihood(*given, backward=backward))

  at, to = jnp.asarray(BAD[:, good]), jnp.asarray(to[:, good])
  forward = quick(lambda: jax.jvp(lambda x: found(x, "autodiff"), (at,), (to,))[1])()
  reverse = quick(lambda: jnp.vdot(jax.grad(found)(at, "fast"), to))()
  close(forward, reverse, 1e-4)
  with pytest.raises(TypeError, match="give backward='autodiff'"):
    jax.jvp(lambda x: found(x, "fast"), (at,), (to,))


def test_half_precision_is_summed_in_float32():
  half = jnp.asarray(BAD[:, :1], jnp.bfloat16)
  own = (LABELS[:2, :1], VALID[:, :1])
  found = quick(likelihood)(half, *own)
  assert found.dtype == jnp.float32
  close(found, quick(likelihood)(half.astype(jnp.float32), *own), 1e-6)


@pytest.mark.parametrize(
  "given, said",
  [
    ((LOGITS, LABELS[:, 1:]), r"logits \(5, 11, 3\) and labels \(3, 10\) must be"),
    ((LOGITS, LABELS, VALID[1:]), r"valid \(4, 11\) must be \(5, 11\)"),
    ((LOGITS, LABELS, VALID, VALID), r"label_valid \(5, 11\) must be \(3, 11\)"),
  ],
)
def test_shapes_that_do_not_fit_are_refused(given, said):
  with pytest.raises(ValueError, match=said):
    likelihood(*given)


def test_the_best_path_is_merged_without_its_blanks():
  paths = np.array(
    [[0, 0, 2, 2, 1], [2, 1, 2, 2, 0], [1, 1, 1, 1, 1], [2, 0, 2, 2, 0]]
  ).T
  logits = np.eye(C)[paths]
  valid = np.ones(paths.shape, bool)
  assert ctc.greedy(logits, valid, blank=BLANK) == [(0, 2), (2, 2, 0), (), (2, 0, 2, 0)]
  valid[1, 3] = valid[4, 3] = False  # 2 · 2 2 ·: one label
  logits[~valid] = np.nan
  assert ctc.greedy(logits, valid, blank=BLANK)[3] == (2,)
  assert ctc.greedy(logits[:0], valid[:0], blank=BLANK) == [()] * 4


def test_a_wide_beam_finds_the_likeliest_labels():
  found = ctc.prefix_beam(BAD, VALID, 400, blank=BLANK)
  for row, (labels, score) in enumerate(found):
    wanted = every(row)
    assert labels == max(wanted, key=wanted.__getitem__)
    assert score == pytest.approx(np.log(wanted[labels]), rel=1e-5, abs=1e-6)


def test_labels_of_many_paths_beat_the_best_path():
  """The example of Graves: the blank is likelier at every step, but not in all."""
  logits = np.log(np.array([[0.4, 0.6, 1e-9], [0.4, 0.6, 1e-9]]))[:, None]
  assert ctc.greedy(logits, blank=BLANK) == [()]
  [found] = ctc.prefix_beam(logits, beams=3, blank=BLANK)
  assert found.labels == (0,) and found.score == pytest.approx(np.log(0.64))


def test_a_narrow_beam_sums_no_more_than_there_is():
  for beams in (1, 2, 5):
    for row, (labels, score) in enumerate(
      ctc.prefix_beam(BAD, VALID, beams, blank=BLANK)
    ):
      assert score <= np.log(every(row)[labels]) + 1e-6
