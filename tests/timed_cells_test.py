"""What is special about cells with a clock: times, missing inputs, blocks that wait."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_rows import EQUATIONS, made
from tables import (
  B,
  D,
  H,
  T,
  close,
  initial,
  noise,
  parameters,
  quick,
  quickly,
  same,
  unroll,
)

from unroll import cells, layers, scan
from unroll.architecture import Architecture
from unroll.compose import Wiring
from unroll.parameters import Frozen
from unroll.regularizers import zoneout
from unroll.types import BadInput, Noted, seed

OPTIONS = {"cfc": {"units": 6}, "ltc": {}, "gru_d": {}, "phased_lstm": {"ratio": 0.5}}
WITH_TIME = pytest.mark.parametrize("name", OPTIONS)


def timed(name, features=D, **options):
  return cells.CELLS[name](features + 1, H, timed=True, **OPTIONS[name], **options)


def beside(xs, dt):
  """The features, and the times of their steps as the last column."""
  dt = np.broadcast_to(np.asarray(dt, xs.dtype), xs.shape[:2])
  return np.concatenate([xs, dt[..., None]], axis=-1)


def started(cell, xs, **options):
  """Parameters, and an unroll of the cell from its own start."""
  params = parameters(cell)
  return params, unroll(cell, params, cell.carry(params, xs.shape[1]), xs, **options)


@WITH_TIME
def test_a_step_takes_1_where_nothing_is_said_of_time(name):
  plain, xs = cells.CELLS[name](D, H, **OPTIONS[name]), noise(3, T, B, D)
  params, found = started(plain, xs)
  cell = timed(name)
  carry = cell.carry(params, B)
  close(unroll(cell, params, carry, beside(xs, 1)), found, 1e-6)
  other = unroll(cell, params, carry, beside(xs, 2))[1]
  assert np.all(np.abs(other - found[1])[1:] > 0)


@WITH_TIME
def test_a_time_below_0_counts_as_0(name):
  cell, xs = timed(name), noise(3, T, B, D)
  _, found = started(cell, beside(xs, -2))
  same(found, started(cell, beside(xs, 0))[1])


@WITH_TIME
def test_the_gradient_of_the_times_is_a_difference_of_values(name):
  with jax.enable_x64(True):
    cell, xs = timed(name), noise(3, T, B, D, dtype=np.float64)
    params = parameters(cell, np.float64)

    def value(dt):
      both = jnp.concatenate([xs, dt], axis=-1)
      return jnp.sum(scan.unroll(cell, params, cell.carry(params, B), both)[1] ** 2)

    dt = 0.5 + np.random.default_rng(4).random((T, B, 1))
    value, slope = quick(value), quick(jax.grad(value))(dt)
    way = 1e-6 * noise(5, T, B, 1, dtype=np.float64)
    change = (value(dt + way) - value(dt - way)) / 2
    np.testing.assert_allclose(change, np.vdot(slope, way), rtol=1e-6)
    assert np.any(slope)


@WITH_TIME
def test_a_time_is_no_only_input(name):
  with pytest.raises(BadInput, match=r"timed: the last input .* there are 1 in all"):
    cells.CELLS[name](1, H, timed=True)


CLOCKS = ["phased_lstm", "gru_d", "clockwork_rnn"]


@pytest.mark.parametrize("name", CLOCKS)
def test_a_clock_starts_afresh_with_a_sequence(name):
  cell, xs = made(name), noise(3, T, B, D)
  params = parameters(cell)
  reset = np.arange(T)[:, None] == np.full(B, 3)
  _, ys = unroll(cell, params, initial(cell, params), xs, reset=reset)
  close(ys[3:], unroll(cell, params, cell.carry(params, B), xs[3:])[1], 1e-6)


@pytest.mark.parametrize("name", quickly(CLOCKS, "gru_d"))
def test_zoneout_stops_no_clock(name):
  cell, xs = made(name), noise(3, T, B, D)
  params, (after, _) = started(cell, xs)
  around = zoneout(cell, (0.5, 0.2) if name == "phased_lstm" else 0.5)
  for key in (None, jax.random.key(5)):
    carry = seed(around.carry(params, B), key)
    held = unroll(around, params, carry, xs)[0].inner
    assert not np.allclose(held.h, after.h)
    for noted, kept in zip(after, held):
      if isinstance(noted, Noted):
        same(kept, noted)


def test_half_a_step_twice_is_a_step_of_ltc():
  whole, half = (timed("ltc", unfolds=unfolds) for unfolds in (2, 1))
  x = np.repeat(noise(3, 1, B, D), 2, axis=0)
  params = parameters(whole)
  carry = initial(whole, params)
  after, _ = unroll(whole, params, carry, beside(x[:1], 3))
  close(unroll(half, params, carry, beside(x, 1.5))[0], after, 1e-6)


def test_in_no_time_ltc_stays_where_it_is():
  cell, x = timed("ltc"), noise(3, 1, B, D)
  params = parameters(cell)
  carry = initial(cell, params)
  close(unroll(cell, params, carry, beside(x, 0))[0], carry, 1e-6)


def test_in_a_long_time_ltc_comes_to_rest():
  cell, x = timed("ltc", unfolds=40), noise(3, 1, B, D)
  params = parameters(cell)
  there, _ = unroll(cell, params, initial(cell, params), beside(x, 1e4))
  close(unroll(cell, params, there, beside(x, 7))[0], there, 1e-4)


@pytest.mark.parametrize("dt", [0, 1e3], ids=["soon", "late"])
def test_cfc_goes_from_f_to_g(dt):
  cell, x = timed("cfc"), noise(3, 1, B, D)
  params = parameters(cell)
  of_a, of_s = slice(2 * H, 3 * H), slice(3 * H, 4 * H)
  heads = params.w_y.at[:, 2 * H :].set(0)
  params = params._replace(w_y=heads, b_y=params.b_y.at[of_a].set(1).at[of_s].set(-20))
  q = np.asarray(x[0] @ params.w_x) + params.b[None]
  f, g, *_ = np.split(
    np.tanh(1.7159 * np.tanh(0.666 * q) @ heads + params.b_y[None]), 4, axis=1
  )
  _, ys = unroll(cell, params, cell.carry(params, B), beside(x, dt))
  np.testing.assert_allclose(ys[0], g if dt else f, atol=1e-6)


@pytest.mark.slow
def test_a_unit_of_a_phased_lstm_is_open_for_a_part_of_its_period():
  cell = cells.phased_lstm(2, 2, ratio=0.5, leak=0, timed=True)
  params = parameters(cell)._replace(
    log_period=jnp.log(jnp.array([4.0, 8.0], jnp.float32)),
    shift=jnp.array([0.0, 2.0], jnp.float32),
  )
  steps = 24
  xs = beside(noise(3, steps, 1, 1), 0.5)
  carries, _ = quick(
    lambda: scan.unroll(cell, params, cell.carry(params, 1), xs, every=True)
  )()
  times = np.asarray(carries.t.value)[:, 0, 0]
  np.testing.assert_allclose(times, 0.5 * np.arange(1, steps + 1))
  before = np.concatenate([np.zeros((1, 2)), carries.c[:-1, 0]])
  moves = np.asarray(carries.c)[:, 0] != before
  phases = (times[:, None] - [0, 2]) % [4, 8]
  assert np.array_equal(moves, (phases > 0) & (phases < [2, 4]))


def test_a_clock_of_many_periods_is_one_of_a_few():
  cell = cells.phased_lstm(D, H, ratio=0.5)
  params = parameters(cell)._replace(log_period=jnp.full(H, np.log(8), jnp.float32))
  xs, carry = noise(3, T, B, D), initial(cell, parameters(cell))
  whole = carry._replace(t=Noted(jnp.full((B, 1), 2.0, jnp.float32)))
  later = carry._replace(t=Noted(jnp.full((B, 1), 2.0 + 8 * 1000, jnp.float32)))
  ys = [unroll(cell, params, at, xs)[1] for at in (whole, later)]
  np.testing.assert_allclose(*ys, atol=1e-3)


def gaps(share=0.5):
  """Inputs of which a share is missing."""
  xs = noise(3, T, B, D)
  return np.where(np.random.default_rng(1).random(xs.shape) < share, np.nan, xs)


@pytest.mark.parametrize("name", ["gru_d", "gru_d, timed"])
def test_gru_d_reads_what_is_there(name):
  cell, xs = made(name), gaps()
  if "timed" in name:
    xs[..., -1] = np.random.default_rng(2).random((T, B))
  params, (after, ys) = started(cell, xs)
  known, carry = jax.tree.map(np.asarray, (params, cell.carry(params, B)))
  for x, y in zip(xs, ys, strict=True):
    fields, wanted = EQUATIONS[name][2](known, carry, x)
    carry = type(carry)(fields[0], *map(Noted, fields[1:]))
    np.testing.assert_allclose(y, wanted, atol=1e-5)
  close(after, carry, 1e-5)


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["some", "all"])
@pytest.mark.parametrize("backward", quickly(["fast", "autodiff"], "fast"))
def test_what_is_missing_has_no_gradient_and_spoils_none(share, backward):
  cell, xs = made("gru_d"), gaps(share)
  params = parameters(cell)

  def loss(params, xs):
    carry = cell.carry(params, B)
    return jnp.sum(scan.unroll(cell, params, carry, xs, backward=backward)[1] ** 2)

  of_params, of_xs = quick(jax.grad(loss, argnums=(0, 1)))(params, xs)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(of_params))
  assert np.any(of_params.w_d) and np.any(of_params.w_n)
  assert not np.any(of_params.mean.value)
  assert np.array_equal(of_xs != 0, ~np.isnan(xs))
  assert np.all(np.isfinite(cell.project(params, xs)))


def test_an_input_that_was_seen_decays_to_its_mean():
  cell = cells.gru_d(1, H)
  params = parameters(cell)
  mean, rate = jnp.array([5.0], jnp.float32), jnp.array([0.5], jnp.float32)
  params = jax.tree.map(jnp.zeros_like, params)._replace(  # the state does not decay
    w_x=params.w_x, w_n=params.w_n, mean=Frozen(mean), d_x=rate
  )
  left = np.exp([-0.5, -1.0, -1.5])
  seen = [np.nan, 2, np.nan, np.nan, np.nan, 3]
  read = [5, 2, *(2 * left + 5 * (1 - left)), 3]
  ys = [
    unroll(cell, params, cell.carry(params, 1), np.array(xs, np.float32)[:, None, None])
    for xs in (seen, read)
  ]
  close(ys[0][1], ys[1][1], 1e-5)


def test_blocks_step_at_their_periods_and_wait_between():
  cell, steps = cells.clockwork_rnn(D, 8, blocks=4), 20
  params, xs = parameters(cell), noise(3, steps, B, D)
  carries, ys = quick(
    lambda: scan.unroll(cell, params, cell.carry(params, B), xs, every=True)
  )()
  same(carries.h, ys)
  before = np.concatenate([np.zeros((1, B, 8)), ys[:-1]])
  moved = np.asarray(ys != before).reshape(steps, B, 4, 2)
  due = np.arange(steps)[:, None] % 2 ** np.arange(4) == 0
  assert np.array_equal(moved, np.broadcast_to(due[:, None, :, None], moved.shape))
  assert np.array_equal(carries.t.value[:, 0, 0], (np.arange(steps) + 1) % 8)


def test_a_block_reads_itself_and_slower_ones():
  cell = cells.clockwork_rnn(D, 4, blocks=2)
  params, xs = parameters(cell), noise(3, T, B, D)

  def loss(params):
    return jnp.sum(scan.unroll(cell, params, cell.carry(params, B), xs)[1] ** 2)

  used = np.asarray(quick(jax.grad(loss))(params).w_h != 0)
  assert np.array_equal(used, np.kron([[1, 0], [1, 1]], np.ones((2, 2))))


def test_blocks_that_do_not_divide_the_units():
  cell = cells.clockwork_rnn(D, 5, blocks=2)
  _, (after, _) = started(cell, noise(3, T, B, D))
  assert after.h.shape == (B, 5)
  one = cells.clockwork_rnn(D, H, blocks=1)
  params, (_, ys) = started(one, noise(3, T, B, D))
  plain = cells.vanilla(D, H)
  own = parameters(plain)._replace(w_x=params.w_x, w_h=params.w_h, b=params.b)
  close(unroll(plain, own, plain.carry(own, B), noise(3, T, B, D))[1], ys, 1e-5)


def test_with_skip_every_layer_reads_the_time():
  layer, _ = Architecture("cfc:timed", 2, (H,), skip=True).encoder(D + 1)
  both = [cells.cfc(size + 1, H, timed=True) for size in (D, H + D)]
  wanted = layers.stacked(*both, wiring=Wiring(skip=True))
  params, xs = layer.init(jax.random.key(0)), beside(noise(3, T, B, D), 0.3)

  def run(layer):
    return quick(layer.unroll)(params, layer.carry(params, B), xs)[1]

  close(run(layer), run(wanted), 1e-6)


ASKED = {
  "layers=2: the first alone": {"layers": 2},
  r"input_dropout=0\.3: it would": {"layers": 1, "dropout": 0.3},
}


@pytest.mark.parametrize("said", ASKED)
def test_no_layer_loses_the_time(said):
  with pytest.raises(BadInput, match=f"cell=gru_d:timed with {said}"):
    Architecture("gru_d:timed", hidden=(H,), **ASKED[said]).encoder(D)


def test_time_runs_one_way():
  whole = Architecture("ltc:timed", layers=1, hidden=(H,), dropout=0.3, input_dropout=0)
  whole.encoder(D)
  with pytest.raises(BadInput, match="cell=ltc:timed with `bidirectional`"):
    whole.encoder(D, bidirectional=True)
