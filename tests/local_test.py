"""The laws of schemes that keep what a unit's own parameters have done to it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from online_test import KEY, batch_of, cut, squares
from tables import CELLS, USERS, B, T, initial, noise, parameters, quickly

from unroll import cells as library
from unroll import compose, gradients, readout, scan, states
from unroll.cells.vanilla import VanillaCarry
from unroll.gradients.online import optimal
from unroll.types import BadInput, Cell, seed

H = 4
DIAGONAL = ("indrnn", "lru", "s5", "min_gru", "min_lstm", "sru")
DENSE = (
  "rnn",
  "gru",
  "gru_reset_before",
  "lstm",
  "lstm_peephole",
  "cifg",
  "janet",
  "ugrnn",
  "minimal_rnn",
)


def added_up(scheme, cell, params, carry, batch):
  """The gradient of all steps at the same parameters, in the mean of the whole."""
  own = scheme.cell(cell)
  state = own.carry(params, B)._replace(carry=carry)
  estimator = scheme.estimator(squares(own, scheme.backward))
  found = jax.jit(estimator.estimate)(params, state, (), batch, KEY)
  return ravel_pytree(found.grads)[0]


def made(name):
  cell = library.CELLS[name](H, H)
  params = parameters(cell, np.float64)
  return cell, params, initial(cell, params)


@pytest.mark.parametrize("masks", ["holes_resets"])
@pytest.mark.parametrize("name", quickly(DIAGONAL, "indrnn"))
def test_units_that_read_no_other_have_the_full_gradient(name, masks):
  with jax.enable_x64(True):
    cell, params, carry = made(name)
    batch = batch_of((H,), masks)
    full = gradients.full().estimator(squares(cell))
    expected = ravel_pytree(full.estimate(params, carry, (), batch, KEY).grads)[0]
    found = added_up(gradients.snap1(), cell, params, carry, batch)
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("k", [4, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", quickly(DIAGONAL, "min_gru"))
def test_rtrl_of_units_that_read_no_other_is_full(name, k):
  with jax.enable_x64(True):
    cell, params, carry = made(name)
    batch = batch_of((H,), "holes_resets")
    whole = gradients.full().estimator(squares(cell))
    expected = ravel_pytree(whole.estimate(params, carry, (), batch, KEY).grads)[0]
    scheme = gradients.rtrl_diagonal(k)
    own = scheme.cell(cell)
    state = own.carry(params, B)._replace(carry=carry)
    estimate = jax.jit(scheme.estimator(squares(own)).estimate)
    total = jnp.zeros_like(expected)
    for t in range(0, T, k):
      piece = cut(batch, t, min(t + k, T))
      found = estimate(params, state, (), piece, KEY)
      state = found.carry
      share = piece[1].sum() / batch[1].sum()
      total = total + share * ravel_pytree(found.grads)[0]
    np.testing.assert_allclose(total, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["rnn", "gru_layer_norm", "rg_lru"])
def test_units_that_read_each_other_are_refused(name):
  cell = gradients.rtrl_diagonal().cell(library.CELLS[name](H, H))
  with pytest.raises(BadInput, match="truncation=rtrl_diagonal is for units"):
    cell.carry(cell.init(KEY), B)


def masked_rtrl(cell, params, carry, batch, reach=1):
  """RTRL whose influence is zero but where state and parameter are of one unit.

  With `reach` the state may also be of one of the next units.
  """
  loss = squares(cell)
  flat, params_of = ravel_pytree(params)
  unit = ravel_pytree(
    jax.tree.map(
      lambda leaf: jnp.broadcast_to(jnp.arange(leaf.shape[-1]) % H, leaf.shape), params
    )
  )[0]
  size = states.vector(carry).shape[-1]
  away = np.arange(size)[:, None] % H - np.asarray(unit)[None]
  own = (away >= 0) & (away < reach)  # [S, P]

  def after(flat, change, carry, piece):
    begun = states.moved(carry, change)
    return states.vector(loss(params_of(flat), begun, piece)[1][0])

  def value(flat, change, carry, piece):
    return loss(params_of(flat), states.moved(carry, change), piece)

  @jax.jit
  def stepped(carry, piece):
    at = (flat, jnp.zeros((B, size)), carry, piece)
    (_, (new, _)), slopes = jax.value_and_grad(value, (0, 1), has_aux=True)(*at)
    by_params, by_states = jax.jacrev(after, (0, 1))(*at)
    return new, slopes, by_params, jnp.einsum("bsbr->bsr", by_states)

  influence, total = np.zeros((B, size, flat.size)), 0.0
  for t in range(T):
    piece = cut(batch, t, t + 1)
    carry, (grad, slope), by_params, by_states = stepped(carry, piece)
    grad = grad + jnp.einsum("bs,bsp->p", slope, influence)
    total = total + piece[1].sum() / batch[1].sum() * grad
    influence = np.where(own, by_states @ influence + by_params, 0)
  return total


@pytest.mark.parametrize("name", quickly(DENSE, "rnn"))
def test_snap1_is_rtrl_of_a_unit_and_its_parameters(name):
  with jax.enable_x64(True):
    cell, params, carry = made(name)
    batch = batch_of((H,), "holes_resets")
    found = added_up(gradients.snap1(), cell, params, carry, batch)
    expected = masked_rtrl(cell, params, carry, batch)
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm"])
def test_eprop_is_snap1_of_units_that_do_not_read_themselves(name):
  with jax.enable_x64(True):
    cell, params, carry = made(name)
    hollow = params.w_h.reshape(H, -1, H) * (1 - jnp.eye(H))[:, None]
    params = params._replace(w_h=hollow.reshape(params.w_h.shape))
    batch = batch_of((H,), "holes_resets")
    one, other = (
      added_up(scheme, cell, params, carry, batch)
      for scheme in (gradients.snap1(), gradients.eprop())
    )
    np.testing.assert_allclose(one, other, atol=1e-12)
    assert np.max(np.abs(one)) > 0.01


@pytest.mark.parametrize("name", ["gru_layer_norm", "rg_lru"])
def test_another_dependence_of_units_is_refused(name):
  cell = library.CELLS[name](H, H)
  params = parameters(cell)
  with pytest.raises(BadInput, match="follow each unit by itself"):
    own = gradients.snap1().cell(cell)
    scan.unroll(own, params, own.carry(params, B), np.zeros((1, B, H), np.float32))


@pytest.mark.parametrize(
  ("name", "spec"),
  [
    ("rnn", "kf_rtrl"),
    *(
      pytest.param(name, spec, marks=pytest.mark.slow)
      for name, spec in (
        *(("rnn", "ok:1"), ("lstm", "ok:3")),
        *((name, "kf_rtrl") for name in ("gru", "lstm", "gru_layer_norm")),
      )
    ),
  ],
)
def test_kronecker_products_are_right_in_the_mean(name, spec):
  with jax.enable_x64(True):
    cell, params, carry = made(name)
    batch, scheme = batch_of((H,), "padding"), gradients.named_scheme(spec)
    own = scheme.cell(cell)
    estimator = scheme.estimator(squares(own, scheme.backward))

    def drawn(key):
      state = seed(own.carry(params, B)._replace(carry=carry), key)
      return ravel_pytree(estimator.estimate(params, state, (), batch, key).grads)[0]

    found = jax.jit(jax.vmap(drawn))(jax.random.split(KEY, 3000))
    full = gradients.full().estimator(squares(cell))
    expected = ravel_pytree(full.estimate(params, carry, (), batch, KEY).grads)[0]
    error = np.std(found, axis=0) / np.sqrt(len(found))
    off = np.abs(np.mean(found, axis=0) - expected)
    assert np.max(off / (error + 1e-6)) < 4.5
    assert np.max(error) < 0.1 and np.max(np.abs(found[0] - expected)) > 1e-3


def test_fewer_products_have_the_mean_of_more():
  """Over all signs the mean is exact; r are of rank r, and vary less than at random."""
  with jax.enable_x64(True):
    values = jnp.asarray([3.0, 1.0, 0.7, 0.2])
    ways = jnp.asarray(list(itertools.product([-1.0, 1.0], repeat=4)))
    roots = np.asarray(jax.vmap(lambda signs: optimal._mixing(values, signs))(ways))
    mixed = roots @ np.swapaxes(roots, 1, 2)
    np.testing.assert_allclose(np.mean(mixed, axis=0), np.diag(values), atol=1e-14)
    assert np.all(np.linalg.matrix_rank(mixed, tol=1e-10) == 3)
    # Benzing et al., theorem 1: of 3 of 4 products, s² / k - Σ values² of those mixed.
    variance = np.mean(np.sum((mixed - np.diag(values)) ** 2, axis=(1, 2)))
    mixed_values = values[2:]
    least = np.sum(mixed_values) ** 2 - np.sum(mixed_values**2)
    np.testing.assert_allclose(variance, least)


@pytest.mark.parametrize("rank", [1, 2, 6])
def test_a_core_by_its_singular_values(rank):
  with jax.enable_x64(True):
    core = noise(0, 6, rank, dtype=np.float64) @ noise(1, rank, 6, dtype=np.float64)
    u, values, v = optimal._singular(jnp.asarray(core))
    np.testing.assert_allclose((u * values[None]) @ v.T, core, atol=1e-13)
    np.testing.assert_allclose(v.T @ v, np.eye(6), atol=1e-13)
    expected = np.linalg.svd(core, compute_uv=False)
    np.testing.assert_allclose(values, expected, atol=1e-13)


@pytest.mark.slow
def test_products_as_many_as_steps_are_exact():
  """r products, each of one step, hold the influence of r steps as it is."""
  with jax.enable_x64(True):
    cell, params, carry = made("rnn")
    batch = batch_of((H,), "none")
    full = gradients.full().estimator(squares(cell))
    expected = ravel_pytree(full.estimate(params, carry, (), batch, KEY).grads)[0]
    own = gradients.ok(T).cell(cell)
    state = seed(own.carry(params, B)._replace(carry=carry), KEY)
    found = gradients.full().estimator(squares(own)).estimate
    grads = jax.jit(found)(params, state, (), batch, KEY).grads
    np.testing.assert_allclose(ravel_pytree(grads)[0], expected, atol=1e-10)


def test_a_matrix_that_is_multiplied_twice_is_refused():
  cell = USERS["twice"]
  params = parameters(cell)
  with pytest.raises(BadInput, match="multiplies by each of its matrices once"):
    own = gradients.kf_rtrl().cell(cell)
    xs = np.zeros((1, B, 3), np.float32)
    scan.unroll(own, params, own.carry(params, B), xs)


def chain():
  """Units that each read themselves and the one before: h = tanh(x W + h a + h' b)."""

  def step(params, h, z):
    before = jnp.pad(h, ((0, 0), (1, 0)))[:, :-1]
    own, other = (jnp.broadcast_to(params[name], h.shape) for name in ("a", "b"))
    h = jnp.tanh(z + own * h + other * before)
    return h, h

  return Cell(
    lambda key: {"a": jnp.full(H, 0.5), "b": jnp.ones(H), "w": jnp.eye(H)},
    lambda params, batch: jnp.zeros((batch, H), params["a"].dtype),
    lambda params, xs: xs @ params["w"],
    step,
  )


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_snap_is_rtrl_of_what_is_reached(n):
  with jax.enable_x64(True):
    cell = chain()
    params = parameters(cell, np.float64)
    carry, batch = initial(cell, params), batch_of((H,), "padding")
    found = added_up(gradients.snap(n), cell, params, carry, batch)
    expected = masked_rtrl(cell, params, carry, batch, n)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    less = added_up(gradients.snap(1), cell, params, carry, batch)
    assert np.max(np.abs(less - expected)) > 1e-3


def blocks():
  """Two heads of two units, and the same units in one dense layer."""
  return compose.heads([library.lstm(H, H // 2) for _ in range(2)])


REACHING = {
  "chain": chain,
  "heads": blocks,
  **{
    name: functools.partial(library.CELLS[name], H, H)
    for name in ("rnn", "lstm", "clockwork_rnn", "gru_layer_norm", "rg_lru", "irnn")
  },
}


@pytest.mark.parametrize("name", quickly(REACHING, "chain"))
def test_snap_of_all_that_is_reached_is_full(name):
  with jax.enable_x64(True):
    cell = REACHING[name]()
    params = parameters(cell, np.float64)
    carry = initial(cell, params)
    batch = batch_of((H,), "padding_resets")
    full = gradients.full().estimator(squares(cell))
    expected = ravel_pytree(full.estimate(params, carry, (), batch, KEY).grads)[0]
    # No gradient flows from step to step: nothing need be cut.
    whole = gradients.full()._replace(cell=gradients.snap(T).cell)
    found = added_up(whole, cell, params, carry, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_snap_of_one_step_is_snap1(name):
  with jax.enable_x64(True):
    cell, params, carry = made(name)
    batch = batch_of((H,), "holes_resets")
    one, other = (
      added_up(scheme, cell, params, carry, batch)
      for scheme in (gradients.snap(1), gradients.snap1())
    )
    np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("name", ["zoneout", "learned_carry"])
def test_what_snap_cannot_follow_is_refused(name):
  cell = CELLS[name]
  with pytest.raises(BadInput, match="follows what the parameters of a layer reach"):
    gradients.snap(2).cell(cell).carry(parameters(cell), B)


def test_what_n_steps_reach():
  """Of heads the 2 H / heads states of a block; along a chain a unit more each step."""
  for cell, n, reached in (
    (blocks(), 2, {H}),
    (chain(), 3, {1, 2, 3}),
  ):
    begun = gradients.snap(n).cell(cell).carry(cell.init(KEY), 1)
    assert {leaf.shape[2] for leaf in begun.influence} == reached


def leaky(tau):
  """Units with a leak, as of Murray (2019): h = (1 - 1/τ) h + 1/τ tanh(x W + h U)."""
  rnn = library.CELLS["rnn"](H, H)

  def step(params, h, z):
    _, new = rnn.step(params, VanillaCarry(h), z)
    h = (1 - 1 / tau) * h + new / tau
    return h, h

  return rnn._replace(
    carry=lambda params, batch: jnp.zeros((batch, H), params.b.dtype),
    step=step,
    derivative=None,
  )


@pytest.mark.parametrize("kind", ["leaky", "rnn"])
def test_rflo_is_its_paper(kind):
  """Of a leaky network by its own leak, of another by the leak that it is given."""
  tau, own = 4, kind == "leaky"
  scheme = gradients.rflo(T) if own else gradients.rflo(T, tau)
  assert scheme.feedback and scheme.chunks.length == T
  with jax.enable_x64(True):
    cell = leaky(tau) if own else library.CELLS["rnn"](H, H)
    params = jax.tree.map(np.asarray, parameters(cell, np.float64))
    kernel = np.eye(H)[:, :2] + 0.5
    xs, truth = (noise(i, T, B, n, dtype=np.float64) for i, n in ((0, H), (1, 2)))
    other = np.asarray(readout.fixed(jnp.asarray(kernel)))
    made = scheme.cell(cell)

    def loss(params, kernel):
      _, ys = scan.unroll(made, params, made.carry(params, B), xs)
      out = readout.sent_back(ys, kernel, other)
      return jnp.sum(jnp.square(out - truth)) / 2

    found, of_kernel = jax.jit(jax.grad(loss, (0, 1)))(params, kernel)
  h, trace, expected, outer = np.zeros((B, H)), 0.0, 0.0, 0.0
  for x, y in zip(xs, truth):
    new = np.tanh(x @ params.w_x + h @ params.w_h + params.b)
    slope = (1 - new**2) * (1 / tau if own else 1)
    trace = (1 - 1 / tau) * trace + h[:, :, None] * slope[:, None]
    h = (1 - 1 / tau) * h + new / tau if own else new
    error = h @ kernel - y
    expected = expected + np.einsum("bij,bj->ij", trace, error @ other.T)
    outer = outer + h.T @ error
  np.testing.assert_allclose(found.w_h, expected, atol=1e-10)
  np.testing.assert_allclose(of_kernel, outer, atol=1e-10)
