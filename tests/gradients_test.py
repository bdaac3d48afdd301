"""The laws of truncation schemes: what each gradient is, by hand."""

import re
from collections import namedtuple
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from tables import CELLS, B, H, close, initial, noise, parameters, quick

from unroll import gradients, scan
from unroll.diagnose import influence_balancing
from unroll.gradients.scheme import Scheme
from unroll.types import BadInput, Sums, added

LENGTH = 7
CELL = CELLS["rnn"]


class Batch(NamedTuple):
  """Inputs `[T, B, D]`, targets `[T, B, H]`, weights `[T, B]`."""

  x: np.ndarray
  y: np.ndarray
  weight: np.ndarray


def batch(length: int = LENGTH) -> Batch:
  weight = np.random.default_rng(2).uniform(0.5, 3, (length, B)).astype(np.float32)
  return Batch(noise(0, length, B, 3), noise(1, length, B, H), weight)


def squares(backward="fast"):
  """A chunk loss: weighted squares of a regression on the outputs of a cell.

  A second sum beside that of the loss is of another shape: the signed errors, `[H]`.
  """

  def loss(params, carry, batch: Batch):
    carry, ys = scan.unroll(CELL, params, carry, batch.x, backward=backward)
    weight = batch.weight[..., None]
    total = jnp.sum((ys - batch.y) ** 2 * weight)
    count = jnp.sum(weight)
    sums = {
      "loss": Sums(total, count),
      "bias": Sums(jnp.sum((ys - batch.y) * weight, (0, 1)), jnp.full(H, count)),
    }
    return total / jnp.maximum(count, 1), (carry, sums)

  return loss


loss = squares()
KEY = jax.random.key(0)


def estimate_of(scheme: Scheme, loss=loss):
  """`(params, carry, batch) -> Estimate`, of a scheme that keeps and draws nothing."""
  estimator = scheme.estimator(loss)
  assert estimator.init(None, None, None) == ()
  return lambda params, carry, batch: estimator.estimate(params, carry, (), batch, KEY)


def cut(batch, *times):
  """The pieces of a batch between neighbouring times."""
  return [Batch(*(leaf[a:b] for leaf in batch)) for a, b in pairwise(times)]


def start():
  params = parameters(CELL)
  return params, initial(CELL, params)


@jax.jit
def summed(params, carry, batch):
  """The sum in place of the mean, and the carry."""
  _, (carry, sums) = loss(params, carry, batch)
  return sums["loss"].total, carry


def by_hand(params, carry, new, k1, k2, overlap):
  """What `truncated(k1, k2)` promises, a step at a time and window by window.

  Every state is computed once, from the start. A window's gradient starts from the
  state k2 steps before its last step, as from a constant.
  """
  states = [carry]
  for piece in cut(new, *range(len(new.x) + 1)):
    states.append(summed(params, states[-1], piece)[1])
  total, weight = jax.tree.map(jnp.zeros_like, params), 0.0
  for first in range(overlap, len(new.x), k1):
    last = min(first + k1, len(new.x))
    # The gradient reaches over the overlap, or the last k2 of the new steps.
    begin = first - overlap if k2 >= k1 else max(first, last - k2)
    *before, piece = cut(new, *sorted({begin, max(first, begin), last}))

    def window(params, state=states[begin], before=before, piece=piece):
      for part in before:
        _, state = summed(params, state, part)
      return summed(params, state, piece)[0]

    total = jax.tree.map(jnp.add, total, jax.grad(window)(params))
    weight += piece.weight.sum()
  _, (_, sums) = loss(params, states[overlap], cut(new, overlap, len(new.x))[0])
  return (sums, jax.tree.map(lambda g: g / weight, total)), states


@pytest.mark.parametrize("k", [LENGTH, LENGTH + 1, 100])
def test_a_long_window_is_the_full_gradient(k):
  params, carry = start()
  full = estimate_of(gradients.full())(params, carry, batch())
  close(quick(estimate_of(gradients.truncated(k)))(params, carry, batch()), full, 1e-5)
  plain = jax.value_and_grad(loss, has_aux=True)(params, carry, batch())
  close(((full.value, (full.carry, full.sums)), full.grads), plain, 1e-6)


@pytest.mark.parametrize(
  ("k1", "k2"),
  [(1, 1), (2, 2), (7, 7), (2, 3), (1, 4), (3, 4), (2, 1), (3, 2), (7, 2)],
)
def test_truncated_is_the_sum_over_windows(k1, k2):
  params, carry = start()
  scheme = gradients.truncated(k1, k2)
  overlap = max(k2 - k1, 0)
  assert scheme.chunks == gradients.Chunks(k1, overlap)
  found = quick(estimate_of(scheme))(params, carry, batch())
  expected, states = by_hand(params, carry, batch(), k1, k2, overlap)
  close((found.sums, found.grads), expected, 1e-5)
  assert found.value == found.sums["loss"].mean()
  # A chunk of its own comes next: it begins with the overlap.
  close(found.carry, states[LENGTH - overlap], 1e-5)


@pytest.mark.parametrize(("k1", "k2"), [(2, 2), (2, 4)])
def test_chunk_by_chunk_is_all_chunks_at_once(k1, k2):
  """Feeding windows one at a time gives the same sums, and the same total gradient."""
  params, carry = start()
  scheme = gradients.truncated(k1, k2)
  overlap = scheme.chunks.overlap
  whole = batch(overlap + 3 * k1)
  estimate = quick(estimate_of(scheme))
  all_at_once = estimate(params, carry, whole)
  total, parts = jax.tree.map(jnp.zeros_like, params), {}
  for first in range(0, 3 * k1, k1):
    (piece,) = cut(whole, first, first + k1 + overlap)
    _, carry, _, part, grad = estimate(params, carry, piece)
    total = jax.tree.map(lambda a, g, n=part["loss"].count: a + g * n, total, grad)
    parts = added(parts, part)
  close((carry, parts), (all_at_once.carry, all_at_once.sums), 1e-5)
  mean = jax.tree.map(lambda g: g / parts["loss"].count, total)
  close(mean, all_at_once.grads, 1e-5)


def test_no_gradient_flows_into_the_carry():
  params, carry = start()
  for scheme in (gradients.full(), gradients.truncated(3), gradients.random(5)):

    def value(carry, scheme=scheme):
      return estimate_of(scheme)(params, carry, batch()).value

    for leaf in jax.grad(value)(carry):
      assert not np.any(leaf)


def test_what_does_not_count_moves_nothing():
  params, carry = start()
  silent = batch()._replace(weight=np.zeros((LENGTH, B), np.float32))
  found = estimate_of(gradients.truncated(3))(params, carry, silent)
  assert found.value == 0
  assert not any(np.any(g) for g in found.grads)


@pytest.mark.parametrize(("k1", "k2"), [(0, None), (-1, None), (3, 0)])
def test_lengths_below_one_are_refused(k1, k2):
  with pytest.raises(ValueError, match="must be at least 1"):
    gradients.truncated(k1, k2)


K = 40


def test_random_lengths():
  chunks = gradients.random(K).chunks
  assert chunks.length == K + 20

  def lengths(seed, total=1_000_000):
    return chunks.lengths(np.random.default_rng(seed), total)

  drawn = lengths(0)
  assert np.array_equal(drawn, lengths(0)) and not np.array_equal(drawn, lengths(1))
  assert drawn.min() >= 5 and drawn.max() <= chunks.length
  assert drawn.sum() >= 1_000_000
  # N(40, 5) and N(20, 5) meet at 30, two deviations from both; floors take half a step.
  assert abs(np.mean(drawn) - (0.95 * K + 0.05 * K / 2 - 0.5)) < 0.1
  near_half = np.mean(drawn < 30)
  assert abs(near_half - (0.05 * 0.977 + 0.95 * 0.023)) < 0.005


@pytest.mark.parametrize("total", [1, 4, 5, 6, 99, 1000])
def test_random_lengths_cover_the_total(total):
  for k in (5, 12, K):
    chunks = gradients.random(k).chunks
    for seed in range(50):
      drawn = chunks.lengths(np.random.default_rng(seed), total)
      assert drawn.sum() >= total and drawn.min() >= 5 and drawn.max() <= chunks.length


@pytest.mark.parametrize("length", [0, 5, 40, 60])
def test_a_short_chunk_takes_a_short_step(length):
  scheme = gradients.random(K)
  valid = np.zeros((scheme.chunks.length, B), bool)
  valid[:length, 1:] = True  # one row may end early
  np.testing.assert_allclose(scheme.rate(SimpleNamespace(valid=valid)), length / K)
  assert gradients.truncated(K).rate(None) == 1.0


@pytest.mark.parametrize("rest", [{}, {"valid": None}])
def test_a_batch_without_padding_is_as_long_as_its_arrays(rest):
  kind = namedtuple("kind", ["x", *rest])
  unpadded = kind(np.zeros((10, B)), *rest.values())
  np.testing.assert_allclose(gradients.random(K).rate(unpadded), 10 / K)


def test_a_random_chunk_has_the_full_gradient():
  params, carry = start()
  expected = estimate_of(gradients.full())(params, carry, batch())
  close(estimate_of(gradients.random(K))(params, carry, batch()), expected, 1e-6)


@pytest.mark.parametrize(
  ("spec", "length", "overlap"),
  [
    ("full", None, 0),
    ("tbptt:64", 64, 0),
    ("tbptt:5,20", 5, 15),
    ("tbptt:20,5", 20, 0),
    ("random:70", 90, 0),
  ],
)
def test_named_schemes(spec, length, overlap):
  scheme = gradients.named_scheme(spec)
  assert scheme.chunks[:2] == (length, overlap)
  assert (scheme.chunks.lengths is not None) == spec.startswith("random")


@pytest.mark.parametrize(
  "spec",
  [
    *("tbptt:0", "tbptt:a", "tbptt", "tbptt:", "tbptt:-3", "tbptt:1,2,3", "tbptt:5,0"),
    *("tbptt:5,", "tbptt:2.5", "random", "random:4", "random:5,6", "full:3", "foo", ""),
  ],
)
def test_another_scheme_is_refused(spec):
  name = spec.partition(":")[0]
  must = f"give {name}" if name in gradients.SCHEMES else "choose full, parallel"
  with pytest.raises(BadInput, match=f"truncation={spec}: {must}"):
    gradients.named_scheme(spec)


def test_every_scheme_is_named_and_says_what_it_takes():
  for name, (numbers, _) in gradients.SCHEMES.items():
    most = {"artbp": "8,4", "adaptive": "0.5,4,8", "random": "5"}.get(name, "2,2")
    count = numbers.count(",") + numbers.count(":")
    spec = f"{name}:{','.join(most.split(',')[:count])}" if numbers else name
    gradients.named_scheme(spec)
    with pytest.raises(BadInput, match=re.escape(f"give {name}{numbers}, ")):
      gradients.named_scheme(f"{name}:0")
  with pytest.raises(
    BadInput, match=r"give adaptive.*TOLERANCE above 0, whole numbers"
  ):
    gradients.named_scheme("adaptive:0.5,2.5")


@pytest.mark.parametrize(
  ("k", "derivative"),
  [(1, 1), (10, 10), (20, 16.48), (40, 0.566), (41, -0.219), (50, -4.75), (200, -6)],
)
@pytest.mark.parametrize("silent", [0, 5])
def test_influence_balancing(k, derivative, silent):
  """The truncated ds_1/dθ, which only the last step of the sequence is asked for."""
  with jax.enable_x64(True):
    cell = influence_balancing()

    def loss(params, carry, batch):
      xs, weight = batch
      carry, ys = scan.unroll(cell, params, carry, xs)
      sums = Sums(
        jnp.sum(ys[..., 0] * weight).astype(jnp.float32),
        jnp.sum(weight).astype(jnp.float32),
      )
      return sums.total, (carry, {"loss": sums})

    length = k + silent
    weight = np.zeros((length, 1))
    weight[-1] = 1
    params = cell.init(jax.random.key(0))
    estimate = estimate_of(gradients.truncated(length, k), loss)
    *_, grads = quick(estimate)(
      params, cell.carry(params, 1), (np.zeros((length, 1, 1)), weight)
    )
    assert grads.dtype == np.float64
    np.testing.assert_allclose(grads, derivative, atol=0.006)


def test_a_scheme_of_forward_mode_needs_a_loss_for_it():
  params, carry = start()
  estimator = gradients.uoro().estimator(loss)
  memory = estimator.init(params, carry, batch(2))
  with pytest.raises(TypeError, match="give backward='autodiff' for forward mode"):
    estimator.estimate(params, carry, memory, batch(2), KEY)


class Masked(NamedTuple):
  """A batch with steps that are not valid at its end."""

  x: np.ndarray
  y: np.ndarray
  weight: np.ndarray
  valid: np.ndarray


def test_artbp_grows_from_block_to_block():
  """Each step back over the edge of a block multiplies the gradient by a factor."""
  params, carry = start()
  k, block = 6, 2
  found = quick(estimate_of(gradients.artbp(k, block)))(params, carry, batch())
  factor = 1 / (1 - block / k)

  def grown(params):
    @jax.custom_vjp
    def passed(carry):
      return carry

    passed.defvjp(
      lambda carry: (carry, ()),
      lambda _, slope: (jax.tree.map(lambda s: s * factor, slope),),
    )
    total, state = 0.0, carry
    for piece in cut(batch(), *range(0, LENGTH, block), LENGTH):
      part, state = summed(params, passed(state), piece)
      total = total + part
    return total / batch().weight.sum(), state

  (value, after), expected = jax.value_and_grad(grown, has_aux=True)(params)
  close(found.grads, expected, 1e-5)
  close((found.value, found.carry), (value, after), 1e-5)


def test_artbp_is_right_in_the_mean():
  """Over all ways to cut six steps, each with its probability: exactly."""
  params, carry = start()
  k, length = 3, 6
  whole = batch(length)
  estimate = quick(estimate_of(gradients.artbp(k)))
  expected = estimate_of(gradients.full())(params, carry, whole).grads
  chance, mean = 1 / k, 0.0
  for ways in range(2 ** (length - 1)):
    cuts = [t for t in range(1, length) if ways >> (t - 1) & 1]
    weight = chance ** len(cuts) * (1 - chance) ** (length - 1 - len(cuts))
    state = carry
    for piece in cut(whole, 0, *cuts, length):
      part = estimate(params, state, piece)
      state = part.carry
      mean = mean + weight * piece.weight.sum() * ravel_pytree(part.grads)[0]
  close(mean / whole.weight.sum(), ravel_pytree(expected)[0], 1e-4)


def test_artbp_stops_where_the_steps_do():
  params, carry = start()
  estimate = quick(estimate_of(gradients.artbp(4), padded))
  for length in (0, 1, LENGTH):
    valid = np.zeros((LENGTH, B), bool)
    valid[:length] = True
    whole = batch()
    found = estimate(params, carry, Masked(*whole, valid))
    short = estimate(params, carry, Masked(*cut(whole, 0, length)[0], valid[:length]))
    close((found.grads, found.carry), (short.grads, short.carry), 1e-6)


def padded(params, carry, batch: Masked):
  """The chunk loss `squares` of the steps that are valid."""
  carry, ys = scan.unroll(CELL, params, carry, batch.x, valid=batch.valid)
  weight = jnp.where(batch.valid, batch.weight, 0)[..., None]
  sums = Sums(jnp.sum((ys - batch.y) ** 2 * weight), jnp.sum(weight))
  return sums.mean(), (carry, {"loss": sums})


def test_artbp_lengths():
  chunks = gradients.artbp(40, 8).chunks
  drawn = chunks.lengths(np.random.default_rng(0), 1_000_000)
  assert drawn.sum() >= 1_000_000 and drawn.max() == chunks.length == 320
  assert np.all(drawn % 8 == 0) and drawn.min() == 8
  assert abs(drawn.mean() - 40) < 0.5
  assert np.array_equal(drawn, chunks.lengths(np.random.default_rng(0), 1_000_000))


@pytest.mark.parametrize("k", [1, 2, 100])
def test_a_telescope_is_right_in_the_mean(k):
  params, carry = start()
  estimator = gradients.telescope(k).estimator(loss)
  full = estimate_of(gradients.full())(params, carry, batch())

  @jax.jit
  @jax.vmap
  def drawn(key):
    return ravel_pytree(estimator.estimate(params, carry, (), batch(), key).grads)[0]

  found = drawn(jax.random.split(KEY, 300))
  expected = ravel_pytree(full.grads)[0]
  if k == 100:
    close(found[0], expected, 1e-5)
  else:
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert np.max(np.abs(np.mean(found, axis=0) - expected) / (error + 1e-6)) < 4
    assert np.max(error) > 1e-4


def test_a_comma_ahead_of_a_digit_ends_no_scheme():
  found = gradients.listed("tbptt:1,41,rtrl,uoro:2")
  assert found == ["tbptt:1,41", "rtrl", "uoro:2"]
