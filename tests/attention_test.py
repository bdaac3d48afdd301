"""Attention: what is read is what the papers say, and its gradient is exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, noise, pairing, quick, quickly

from unroll import cells, compose, scan
from unroll.attention import Form, Memory, Sizes, attend, attending, softmax
from unroll.types import BadInput

B, S, T, D, H, M = 3, 5, 4, 2, 6, 4
LENGTHS = np.array([5, 2, 0])
VALID = np.arange(S) < LENGTHS[:, None]
FORMS = {
  "additive": Form(),
  "dot": Form("dot"),
  "scaled_dot": Form("scaled_dot"),
  "mean": Form("mean"),
  "after": Form(look="after"),
  "feeding": Form(look="after", feeding=True),
  "local": Form("dot", window=2),
  "coverage": Form(coverage=S + 2),
  "coverage_after": Form(look="after", coverage=S),
}
each = pytest.mark.parametrize("name", FORMS)


def memory(dtype=np.float32) -> Memory:
  values, keys = noise(1, B, S, M, dtype=dtype), noise(2, B, S, H, dtype=dtype)
  return Memory(values, keys, VALID)


def attender(name, cell=None, **options):
  cell = cell or cells.gru(D, H)
  return attending(cell, Sizes(D, H, M, H), FORMS[name], **options)


def prepared(name, dtype=np.float32, **options):
  cell = attender(name, **options)
  params = cell.init(jax.random.key(3))
  # Nothing of it is 0, so that every part has a say.
  params = jax.tree.map(
    lambda leaf: jnp.asarray(
      np.asarray(leaf, dtype) + 0.3 * noise(leaf.size, *leaf.shape, dtype=dtype), dtype
    ),
    params,
  )
  return cell, params, cell.carry(params, B), noise(4, T, B, D, dtype=dtype)


def written(form, params, query, coverage):
  """The weights of one query in NumPy, sentence by sentence."""
  found = np.zeros((B, S))
  values, keys, _ = memory(np.float64)
  for b, length in enumerate(LENGTHS):
    if form.score == "additive":
      hidden = keys[b, :length] + query[b] @ params.query
      if form.coverage:
        hidden = hidden + coverage[b, :length, None] * params.covered
      scores = np.tanh(hidden) @ params.score
    else:
      scores = keys[b, :length] @ query[b]
    if form.score == "scaled_dot":
      scores = scores / H**0.5
    if form.score == "mean":
      scores = np.zeros(length)
    if form.window:
      centre = length / (1 + np.exp(-np.tanh(query[b] @ params.centre) @ params.place))
      away = np.arange(length) - centre
      near = np.abs(away) <= form.window
      scores = np.where(near, scores, -np.inf)
      if near.any():
        share = np.exp(scores - scores[near].max())
        found[b, :length] = share / share.sum()
      found[b, :length] *= np.exp(-(away**2) / (2 * (form.window / 2) ** 2))
    elif length:
      share = np.exp(scores - scores.max())
      found[b, :length] = share / share.sum()
  return np.einsum("bs,bsm->bm", found, values), found


@each
def test_what_is_read_is_what_the_papers_say(name):
  with jax.enable_x64(True):
    _, params, *_ = prepared(name, np.float64)
    query, coverage = (
      noise(5, B, H, dtype=np.float64),
      noise(6, B, S + 2, dtype=np.float64) ** 2,
    )
    own = jax.tree.map(np.asarray, params)
    expected = written(FORMS[name], own, query, coverage)
    found = attend(FORMS[name], params, query, memory(np.float64), coverage)
    close(found, expected, 1e-12)
    assert not np.any(found[1][~VALID])
    if not FORMS[name].window:
      np.testing.assert_allclose(np.sum(found[1], axis=1), LENGTHS > 0)


def test_a_memory_without_a_place_gives_zero_and_has_a_gradient():
  nothing = np.zeros((B, S), bool)
  scores = noise(7, B, S) * np.array([1, np.inf, np.nan, 1, 1], np.float32)
  value, gradient = jax.value_and_grad(lambda s: jnp.sum(softmax(s, nothing)))(scores)
  assert value == 0 and not np.any(gradient)
  some = nothing.copy()
  some[:, 3:] = True
  found, pullback = jax.vjp(lambda s: softmax(s, some), scores)
  np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
  assert np.all(np.isfinite(pullback(noise(8, B, S))[0]))


@pytest.mark.parametrize("name", quickly(FORMS, *list(FORMS)[::2]))
@pytest.mark.parametrize("dtype", [np.float64])
def test_its_gradient_is_exact(name, dtype):
  with jax.enable_x64(True):
    cell, params, carry, xs = prepared(name, dtype, weights=True)
    own = memory(dtype)

    def loss(params, xs, values, keys, backward):
      read = Memory(values, keys, VALID)
      return pairing(
        scan.unroll(cell, params, carry, xs, context=read, backward=backward)
      )

    at = (params, xs, own.values, own.keys)
    fast, exact = (
      quick(jax.grad(functools.partial(loss, backward=b), argnums=(0, 1, 2, 3)))(*at)
      for b in ("fast", "autodiff")
    )
    close(fast, exact, 1e-10)
    way = jax.tree.map(lambda leaf: noise(9, *leaf.shape, dtype=leaf.dtype), at)

    def moved(distance):
      return loss(*jax.tree.map(lambda p, w: p + distance * w, at, way), "autodiff")

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    products = jax.tree.map(lambda g, w: jnp.sum(g * w), fast, way)
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-5)


@each
def test_its_products_leave_the_loop(name):
  cell, params, carry, xs = prepared(name)
  assert scan.path(cell, params, carry, xs, context=memory()).name == "recorded"


@each
def test_what_stands_on_places_that_are_not_there_changes_nothing(name):
  cell, params, carry, xs = prepared(name, weights=True)
  own = memory()
  fill = np.where(VALID[..., None], 1, 50).astype(np.float32)
  other = Memory(own.values * fill, own.keys * fill, VALID)
  longer = Memory(*(np.pad(x, [(0, 0), (0, 0), (0, 0)]) for x in own[:2]), VALID)
  run = quick(lambda read: scan.unroll(cell, params, carry, xs, context=read))
  for read in (other, longer):
    close(run(own), run(read), 1e-6)


def test_a_state_that_reads_is_the_cell_with_both_as_its_input():
  """Bahdanau's decoder: a GRU of the input and what was read side by side."""
  cell, params, carry, xs = prepared("additive")
  wide = cells.gru(D + M, H)
  both = params.cell._replace(w_x=jnp.concatenate([params.cell.w_x, params.read]))
  after, ys = scan.unroll(cell, params, carry, xs, context=memory())
  state, last = wide.carry(both, B), jnp.zeros((B, H))
  for x, y in zip(xs, ys):
    read, _ = attend(FORMS["additive"], params, last, memory(), carry.coverage)
    z = wide.project(both, jnp.concatenate([x, read], axis=-1)[None])[0]
    state, last = wide.step(both, state, z)
    out = jnp.concatenate([last, read], -1) @ params.output + params.bias[None]
    out = jnp.tanh(out)
    np.testing.assert_allclose(y, out, atol=1e-5)
  np.testing.assert_allclose(after.last, last, atol=1e-5)


def test_coverage_adds_up_the_weights():
  cell, params, carry, xs = prepared("coverage", weights=True)
  after, ys = scan.unroll(cell, params, carry, xs, context=memory())
  np.testing.assert_allclose(after.coverage[:, :S], ys[..., H:].sum(0), rtol=1e-5)
  assert after.coverage.shape == (B, S + 2) and not np.any(after.coverage[:, S:])


def test_it_goes_around_layers_and_is_layered():
  inner = compose.deep(cells.lstm(D, H), cells.lstm(H, H))
  cell, params, carry, xs = prepared("feeding", cell=inner)
  assert scan.path(cell, params, carry, xs, context=memory()).name == "recorded"
  whole, ys = scan.unroll(cell, params, carry, xs, context=memory())
  half, first = scan.unroll(cell, params, carry, xs[:2], context=memory())
  after, second = scan.unroll(cell, params, half, xs[2:], context=memory())
  close((whole, ys), (after, jnp.concatenate([first, second])), 1e-6)


BAD = [
  (Form("cosine"), "attention=cosine: choose one of"),
  (Form(look="beside"), "look=beside"),
  (Form(feeding=True), "give look=after"),
  (Form("dot", coverage=3), "adds none"),
  (Form("mean", window=3), "has none"),
]


@pytest.mark.parametrize(("form", "said"), BAD)
def test_forms_that_there_are_not_are_refused(form, said):
  with pytest.raises(BadInput, match=said):
    attending(cells.gru(D, H), Sizes(D, H, M, H), form)


def test_keys_of_another_width_than_the_states_have_no_dot():
  with pytest.raises(BadInput, match="width 4 with states of width 6"):
    attending(cells.gru(D, H), Sizes(D, H, M, M), Form("dot"))
