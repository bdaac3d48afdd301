"""The laws of what regularises a recurrence: masks, rates, no effect without a key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, H, T, close, initial, noise, parameters, quick, same, unroll

from unroll import cells
from unroll.architecture import Architecture
from unroll.layers import recurrent, stacked
from unroll.regularizers import dropconnect, dropped_state, weight_noise, zoneout
from unroll.types import BadInput, seed

XS = noise(3, T, B, D)
KEY = jax.random.key(5)
MADE = {
  "lstm": cells.lstm,
  "gru": cells.gru,
  "mgu": cells.mgu,
  "lstm_mogrifier": cells.lstm_mogrifier,
}
every = pytest.mark.parametrize("name", MADE)


def wide(make, rows=200):
  """A cell with its parameters and a carry of many rows, so that rates can be told."""
  cell = make(D, H)
  params = parameters(cell)
  return cell, params, initial(cell, params, rows), noise(3, T, rows, D)


def test_zoneout_keeps_each_state_at_its_rate():
  cell, params, start, xs = wide(cells.lstm)
  around = zoneout(cell, (0.5, 0.1))
  carry = around.carry(params, len(start.c))._replace(inner=start)
  carry = seed(carry, KEY)
  for x in xs:
    z = cell.project(params, x[None])[0]
    new, _ = cell.step(params, carry.inner, z)
    after, y = around.step(params, carry, z)
    same(y, after.inner.h)
    for old, fresh, kept, rate in zip(carry.inner, new, after.inner, (0.5, 0.1)):
      held = np.asarray(kept == old)
      assert np.all(held | (kept == fresh))
      assert abs(held.mean() - rate) < 0.06
    carry = after


@every
def test_zoneout_is_its_expectation_without_a_key(name):
  cell = MADE[name](D, H)
  params, around = parameters(cell), zoneout(MADE[name](D, H), 0.3)
  carry, outputs = around.carry(params, B)._replace(inner=initial(cell, params)), []
  state = carry.inner
  for x in XS:
    new, _ = cell.step(params, state, cell.project(params, x[None])[0])
    state = jax.tree.map(lambda a, b: 0.3 * a + 0.7 * b, state, new)
    outputs.append(state.h)
  after, ys = unroll(around, params, carry, XS)
  close((after.inner, ys), (state, jnp.stack(outputs)), 1e-5)


def test_zoneout_of_all_or_nothing():
  cell = cells.gru(D, H)
  params = parameters(cell)
  start = initial(cell, params)
  for key in (None, KEY):
    for rate, wanted in ((0, unroll(cell, params, start, XS)[0]), (1, start)):
      around = zoneout(cell, rate)
      carry = seed(around.carry(params, B)._replace(inner=start), key)
      close(unroll(around, params, carry, XS)[0].inner, wanted, 1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.4])
@every
def test_nothing_is_dropped_without_a_key(name, rate):
  cell = MADE[name](D, H)
  params = parameters(cell)
  start = initial(cell, params)
  after, ys = unroll(cell, params, start, XS)
  around = dropped_state(cell, rate)
  carry = around.carry(params, B)._replace(inner=start)
  found, zs = unroll(around, params, carry, XS)
  close((found.inner, zs), (after, ys), 1e-6)
  layer = dropconnect(cell, rate)
  found, zs = quick(layer.unroll)(
    params, layer.carry(params, B)._replace(inner=start), XS
  )
  close((found.inner, zs), (after, ys), 1e-6)


@pytest.mark.parametrize("locked", [False, True], ids=["step", "sequence"])
def test_a_state_is_read_through_a_mask_and_kept_whole(locked):
  """h_t = (h ∘ m_t) W for the identity W and no input: the masks themselves."""
  cell = cells.linear_rnn(D, H)
  params = cell.init(KEY)._replace(w_h=jnp.eye(H))
  around = dropped_state(cell, 0.25, locked=locked)
  carry = seed(around.carry(params, 500), KEY)
  carry = carry._replace(inner=cells.VanillaCarry(jnp.ones((500, H))))
  _, ys = unroll(around, params, carry, np.zeros((2, 500, D), np.float32))
  first, second = ys[0], ys[1]
  dropped = np.asarray(first == 0)
  assert abs(dropped.mean() - 0.25) < 0.05
  close(first, np.where(dropped, 0, 1 / 0.75), 1e-5)
  if locked:
    close(second, first * first, 1e-5)
  else:
    assert abs(np.mean(np.asarray(second == 0)) - (1 - 0.75**2)) < 0.05


def test_the_memory_of_a_gru_stays_whole():
  cell = cells.gru(D, H)
  params = parameters(cell)
  open_gate = params.b.at[H : 2 * H].set(50.0)
  params = params._replace(b=open_gate)
  around = dropped_state(cell, 0.5)
  start = initial(cell, params)
  carry = seed(around.carry(params, B)._replace(inner=start), KEY)
  close(unroll(around, params, carry, XS)[0].inner, start, 1e-5)


@every
def test_dropconnect_drops_elements_of_recurrent_matrices(name):
  cell = MADE[name](D, 16)
  params = parameters(cell)
  layer = dropconnect(cell, 0.5)
  carry = seed(layer.carry(params, B), KEY)

  @quick
  @jax.grad
  def gradient(params):
    ys = layer.unroll(params, carry, XS)[1]
    return jnp.sum(ys * noise(7, *ys.shape))

  flat, _ = jax.tree_util.tree_flatten_with_path(gradient(params))
  for path, leaf in flat:
    if leaf.ndim == 2:
      share = np.mean(np.asarray(leaf == 0))
      recurrent = path[-1].name != "w_x" if hasattr(path[-1], "name") else True
      assert abs(share - 0.5) < 0.15 if recurrent else share < 0.1


def test_dropconnect_is_the_layer_of_masked_matrices_all_along():
  cell = cells.lstm(D, H)
  params = parameters(cell)
  layer = dropconnect(cell, 0.5)
  carry = seed(layer.carry(params, B), KEY)
  halves = [quick(layer.unroll)(params, carry, XS[:k])[1] for k in (2, T)]
  same(halves[0], halves[1][:2])
  many, ys = quick(layer.unroll, static_argnames="every")(params, carry, XS, every=True)
  last, _ = quick(layer.unroll)(params, carry, XS)
  same(jax.tree.map(lambda leaf: leaf[-1], many), last)
  assert np.any(
    ys != quick(layer.unroll)(params, seed(carry, jax.random.key(6)), XS)[1]
  )


def test_noise_is_on_every_matrix_and_the_same_for_all_steps():
  cell = cells.lstm(D, 40)
  params = parameters(cell)
  layer, deviation = weight_noise(cell, 0.3), 0.3
  carry = seed(layer.carry(params, B), KEY)
  zeros = jax.tree.map(jnp.zeros_like, params)
  drawn = []

  def reading(inner, carry, xs, **options):
    drawn.append(inner)
    return carry, xs

  spy = weight_noise(recurrent(cell)._replace(unroll=reading), deviation)
  spy.unroll(zeros, carry, XS)
  [found] = drawn
  for matrix in (found.w_x, found.w_h):
    assert abs(np.std(matrix) - deviation) < 0.02 and abs(np.mean(matrix)) < 0.02
  same(found.b, zeros.b)
  moved = jax.tree.map(jnp.add, params, found)
  plain = recurrent(cell)
  close(
    quick(layer.unroll)(params, carry, XS)[1],
    quick(plain.unroll)(moved, carry.inner, XS)[1],
    1e-5,
  )
  quiet = quick(layer.unroll)(params, layer.carry(params, B), XS)[1]
  same(quiet, quick(plain.unroll)(params, carry.inner, XS)[1])


def test_what_is_frozen_has_no_noise():
  cell = cells.echo_state(D, H)
  layer = weight_noise(cell, 0.3)
  params = layer.init(KEY)
  carry = layer.carry(params, B)
  same(
    quick(layer.unroll)(params, seed(carry, KEY), XS)[1],
    quick(layer.unroll)(params, carry, XS)[1],
  )


def test_a_stack_takes_layers_with_masks_of_their_own():
  architecture = Architecture(
    *("gru", 2, (H,)),
    **{"weight_dropout": 0.5, "weight_noise": 0.1},
    **{"zoneout": (0.2,), "recurrent_dropout": 0.3},
  )
  layer, width = architecture.encoder(D)
  params = layer.init(jax.random.key(1))
  carry = layer.carry(params, B)
  quiet = quick(layer.unroll)(params, carry, XS)[1]
  plain = stacked(*(recurrent(cell) for cell in architecture.cells(D)))
  cells_alone = plain.unroll(params, plain.carry(params, B), XS)[1]
  close(quiet, cells_alone, 1e-6)
  loud = [
    quick(layer.unroll)(params, seed(carry, jax.random.key(k)), XS)[1] for k in (1, 2)
  ]
  assert width == H and np.any(loud[0] != loud[1]) and np.any(loud[0] != quiet)


BAD = {
  "zoneout=1.5: give a rate from 0 to 1": lambda: zoneout(cells.gru(D, H), 1.5),
  "recurrent_dropout=1": lambda: dropped_state(cells.gru(D, H), 1.0),
  "weight_noise=-0.1: give a deviation": lambda: weight_noise(cells.gru(D, H), -0.1),
  "weight_dropout=-0.1": lambda: dropconnect(cells.gru(D, H), -0.1),
}


@pytest.mark.parametrize("said", BAD)
def test_a_rate_that_is_none_is_refused(said):
  with pytest.raises(BadInput, match=said):
    BAD[said]()


def test_as_many_rates_as_states():
  around = zoneout(cells.gru(D, H), (0.5, 0.1))
  params = around.init(KEY)
  with pytest.raises(
    BadInput, match=r"zoneout=0\.5,0\.1: give one rate for all .* has 1"
  ):
    unroll(around, params, around.carry(params, B), XS)
