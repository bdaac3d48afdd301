"""The laws of `compose`: wiring by hand, dropout by its masks, a learned carry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  CELLS,
  DEEP,
  MASKS,
  REGISTRY,
  B,
  D,
  H,
  T,
  close,
  gradients,
  initial,
  inputs,
  noise,
  parameters,
  same,
  unroll,
)

from unroll import cells, compose, scan
from unroll.architecture import Architecture
from unroll.compose import Wiring
from unroll.types import BadInput, Cell, Draw, is_draw, seed

KEY = jax.random.key(0)
RATES = ("dropout", "input_dropout", "output_dropout")


def without_memory() -> Cell:
  """A cell whose output is its input: what stands around it can be seen."""
  return Cell(
    init=lambda key: {"unused": jnp.zeros((1,))},
    carry=lambda params, batch: (),
    project=lambda params, xs: xs,
    step=lambda params, carry, x: (carry, x),
  )


def draw(key: int, t: int = 0) -> Draw:
  return Draw(jax.random.key(key), jnp.int32(t))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_a_mask_keeps_the_mean(rate):
  mask = compose.mask(draw(0), (200, 200), rate, 1, False)
  np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - rate)], rtol=1e-4)
  deviation = (rate * (1 - rate) / mask.size) ** 0.5
  assert abs(np.mean(mask == 0) - rate) < 4 * deviation


@pytest.mark.parametrize("locked", [False, True])
def test_a_mask_is_a_function_of_key_site_and_step(locked):
  def mask(key=0, t=0, site=0):
    return compose.mask(draw(key, t), (B, 50), 0.5, site, locked)

  same(mask(), mask())
  assert not jnp.array_equal(mask(), mask(key=1))
  assert not jnp.array_equal(mask(), mask(site=1))
  assert jnp.array_equal(mask(), mask(t=1)) == locked
  assert not jnp.array_equal(mask()[0], mask()[1])


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("rate", RATES)
def test_a_locked_mask_is_one_for_all_steps(rate, locked):
  wiring = Wiring(locked=locked, **{rate: 0.5})
  cell = compose.deep(without_memory(), without_memory(), wiring=wiring)
  carry = seed(cell.carry(((), ()), B), jax.random.key(0))
  params = cell.init(jax.random.key(0))
  _, masks = scan.unroll(cell, params, carry, jnp.ones((T, B, 50)))
  assert set(np.unique(masks)) == {0, 2}
  alike = [bool(jnp.array_equal(masks[0], masks[t])) for t in range(1, T)]
  assert alike == [locked] * (T - 1)


@pytest.mark.parametrize("name", ["dropout", "locked"])
def test_dropout_without_a_key_is_no_dropout(name):
  cell, (layers, wiring) = CELLS[name], DEEP[name]
  silent = compose.deep(*layers, wiring=wiring._replace(**dict.fromkeys(RATES, 0.0)))
  params = parameters(cell)
  carry = initial(cell, params, key=None)
  expected = unroll(silent, params, carry, inputs())
  close(unroll(cell, params, carry, inputs()), expected, 1e-6)
  drawn = unroll(cell, params, initial(cell, params), inputs())[1]
  assert not np.allclose(drawn, expected[1])
  again = unroll(cell, params, initial(cell, params, key=6), inputs())[1]
  assert not np.allclose(drawn, again)


@pytest.mark.parametrize("masks", MASKS)
def test_a_draw_counts_every_step(masks):
  cell = CELLS["dropout"]
  params = parameters(cell)
  valid, reset = MASKS[masks]
  out, _ = unroll(
    cell, params, initial(cell, params), inputs(), valid=valid, reset=reset
  )
  assert out.draw.t == T
  assert out.draw.key == initial(cell, params).draw.key


def test_seed_gives_each_draw_a_key_of_its_own():
  cell = compose.deep(CELLS["dropout"], CELLS["rnn"], CELLS["locked"])
  params = cell.init(jax.random.key(0))
  carry = cell.carry(params, B)

  def draws(carry):
    leaves = jax.tree.leaves(carry, is_leaf=is_draw)
    return [leaf for leaf in leaves if is_draw(leaf)]

  used = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), carry)
  seeded = seed(used, jax.random.key(1))
  assert all(draw.t == 0 for draw in draws(seeded))
  assert (
    len({tuple(jax.random.key_data(draw.key).tolist()) for draw in draws(seeded)}) == 3
  )
  other = seed(used, jax.random.key(2))
  assert jax.tree.structure(seeded) == jax.tree.structure(other)
  assert all(a.key != b.key for a, b in zip(draws(seeded), draws(other)))
  assert all(draw.key is None for draw in draws(seed(seeded, None)))
  same(seeded.layers[1], used.layers[1])


@pytest.mark.parametrize("skip", [False, True], ids=["", "skip"])
@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
def test_wiring_by_hand(residual, skip):
  wiring = Wiring(residual=residual, skip=skip)
  widths = [D, H, H]
  sizes = wiring.input_sizes(D, widths)
  cells = [REGISTRY["rnn"](size, width) for size, width in zip(sizes, widths)]
  cell = compose.deep(*cells, wiring=wiring)
  params = parameters(cell)
  carry, xs = initial(cell, params), inputs()
  below, outputs = xs, []
  for i, part in enumerate(cells):
    if i and skip:
      below = np.concatenate([below, xs], axis=-1)
    ys = unroll(part, params[i], carry.layers[i], below)[1]
    outputs.append(ys + below if residual and ys.shape == below.shape else ys)
    below = outputs[-1]
  expected = np.concatenate(outputs, axis=-1) if skip else outputs[-1]
  _, ys = unroll(cell, params, carry, xs)
  close(ys, expected, 1e-6)
  assert ys.shape == (T, B, wiring.output_size(widths))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_rate_outside_its_range_is_refused(rate, value):
  with pytest.raises(BadInput, match=f"{rate}={value}"):
    compose.deep(CELLS["rnn"], wiring=Wiring(**{rate: value}))


def test_a_learned_carry_starts_every_sequence_and_learns():
  cell, plain = CELLS["learned_carry"], CELLS["lstm"]
  params = cell.init(jax.random.key(0))
  xs = inputs()
  start = unroll(plain, params.cell, plain.carry(params.cell, B), xs)
  close(unroll(cell, params, cell.carry(params, B), xs), start, 1e-6)

  row = jax.tree.map(lambda leaf: noise(4, *leaf.shape), params.carry)
  moved = params._replace(carry=row)
  everywhere = jax.tree.map(lambda leaf: jnp.tile(leaf, (B, 1)), row)
  same(cell.carry(moved, B), everywhere)

  def loss(params, reset):
    carry = jax.lax.stop_gradient(cell.carry(params, B))
    return jnp.sum(scan.unroll(cell, params, carry, xs, reset=reset)[1])

  never = np.zeros((T, B), bool)
  for reset, learns in ((never, False), (~never, True)):
    grads = jax.grad(loss)(moved, reset).carry
    assert all(bool(jnp.any(g != 0)) == learns for g in grads)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "slstm"])
def test_heads_are_cells_side_by_side(name):
  own = cells.CELLS[name](D, H)
  cell = compose.heads([own, own])
  params, xs = cell.init(jax.random.key(0)), noise(3, T, B, D)
  assert not jnp.array_equal(params[0].w_h, params[1].w_h)
  valid, reset = MASKS["holes_resets"]
  options = {"valid": valid, "reset": reset, "reverse": True}
  carry = cell.carry(params, B)
  assert scan.path(cell, params, carry, xs).name == "recorded"
  carries, ys = unroll(cell, params, carry, xs, **options)
  for i, (alone, after) in enumerate(zip(params, carries, strict=True)):
    wanted = unroll(own, alone, own.carry(alone, B), xs, **options)
    close((after, ys[..., i * H : (i + 1) * H]), wanted, 1e-5)
  exact = gradients(cell, params, carry, xs, **options, backward="autodiff")
  close(gradients(cell, params, carry, xs, **options), exact, 1e-4)


def test_a_layer_of_heads_is_an_architecture():
  sizes = {"heads": 2, "hidden": (6,), "layers": 2}
  cells = Architecture(**sizes, learned_carry=True).cells(5)
  shapes = [[one.cell.w_h.shape for one in cell.init(KEY)] for cell in cells]
  assert shapes == [[(3, 12), (3, 12)]] * 2
  with pytest.raises(BadInput, match=r"heads=4 do not divide hidden=6"):
    Architecture(heads=4, hidden=(6,)).cells(5)
