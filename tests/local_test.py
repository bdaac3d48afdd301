"""The laws of schemes that keep what a unit's own parameters have done to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from online_test import KEY, batch_of, cut, squares
from tables import USERS, B, T, initial, parameters, quickly

from unroll import cells as library
from unroll import gradients, scan, states
from unroll.types import BadInput, seed

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


def masked_rtrl(cell, params, carry, batch):
  """RTRL whose influence is zero but where state and parameter are of one unit."""
  loss = squares(cell)
  flat, params_of = ravel_pytree(params)
  unit = ravel_pytree(
    jax.tree.map(
      lambda leaf: jnp.broadcast_to(jnp.arange(leaf.shape[-1]) % H, leaf.shape), params
    )
  )[0]
  size = states.vector(carry).shape[-1]
  own = np.arange(size)[:, None] % H == np.asarray(unit)[None]  # [S, P]

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
  "name", quickly(["rnn", "gru", "lstm", "gru_layer_norm"], "rnn")
)
def test_kf_rtrl_is_right_in_the_mean(name):
  with jax.enable_x64(True):
    cell, params, carry = made(name)
    batch, scheme = batch_of((H,), "padding"), gradients.kf_rtrl()
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
    assert np.max(error) < 0.1 and np.max(np.abs(found[0] - expected)) > 0.01


def test_a_matrix_that_is_multiplied_twice_is_refused():
  cell = USERS["twice"]
  params = parameters(cell)
  with pytest.raises(BadInput, match="multiplies by each of its matrices once"):
    own = gradients.kf_rtrl().cell(cell)
    xs = np.zeros((1, B, 3), np.float32)
    scan.unroll(own, params, own.carry(params, B), xs)
