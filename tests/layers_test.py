"""The laws of `layers`: stacked, bidirectional, and the Flax layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tables import (
  CELLS,
  DEEP,
  MASKS,
  REGISTRY,
  B,
  H,
  close,
  initial,
  inputs,
  pairing,
  parameters,
  quick,
  quickly,
  reals,
  rows,
  same,
  unroll,
  with_reals,
)

from unroll import layers
from unroll.layers import BidirectionalCarry
from unroll.types import BadInput


def both_orders(name):
  """A deep network, layer by layer and step by step, and what it runs on."""
  cell, (parts, wiring) = CELLS[name], DEEP[name]
  params = parameters(cell)
  carry = initial(cell, params)
  orders = (layers.stacked(*parts, wiring=wiring), layers.recurrent(cell))
  return orders, params, carry, inputs()


@pytest.mark.parametrize("name", quickly(DEEP, "skip", "locked"))
@pytest.mark.parametrize(
  ("masks", "reverse"),
  [("none", False), ("padding_resets", False), ("holes_resets", True)],
)
def test_layer_by_layer_is_step_by_step(name, masks, reverse):
  orders, params, carry, xs = both_orders(name)
  valid, reset = MASKS[masks]

  @quick
  def gradients(params, real, xs):
    def paired(params, real, xs, layer):
      options = {"valid": valid, "reset": reset, "reverse": reverse}
      out = layer.unroll(params, with_reals(carry, real), xs, **options)
      return pairing(out), out

    return [
      jax.grad(paired, argnums=(0, 1, 2), has_aux=True)(params, real, xs, layer)
      for layer in orders
    ]

  (stacked, out), (deep, expected) = gradients(params, reals(carry), xs)
  close(out, expected, 1e-5)
  close(stacked, deep, 1e-5)


@pytest.mark.slow
def test_the_two_orders_start_alike():
  for name in DEEP:
    (stacked, deep), *_ = both_orders(name)
    key = jax.random.key(3)
    same(stacked.init(key), deep.init(key))
    same(stacked.carry(stacked.init(key), B), deep.carry(deep.init(key), B))


def test_junk_at_invalid_steps_passes_no_layer():
  orders, params, carry, xs = both_orders("residual")
  valid, _ = MASKS["holes"]
  dirty = np.where(valid[..., None], xs, np.float32(np.nan))
  clean = orders[0].unroll(params, carry, xs, valid=valid)
  same(orders[0].unroll(params, carry, dirty, valid=valid), clean)
  assert np.all(clean[1][~valid] == 0)


def two_ways(merge):
  """A bidirectional layer of two kinds of cell, and what it runs on."""
  cells = CELLS["gru"], CELLS["rnn"]
  layer = layers.bidirectional(*cells, merge)
  params = tuple(parameters(cell, number=i) for i, cell in enumerate(cells))
  carry = BidirectionalCarry(*(initial(c, p) for c, p in zip(cells, params)))
  return layer, cells, params, carry, inputs()


MERGED = {
  "concat": lambda ys, zs: np.concatenate([ys, zs], axis=-1),
  "sum": lambda ys, zs: ys + zs,
  "mul": lambda ys, zs: ys * zs,
  "average": lambda ys, zs: (ys + zs) / 2,
  None: lambda ys, zs: (ys, zs),
}


@pytest.mark.parametrize("merge", MERGED)
@pytest.mark.parametrize("masks", ["none", "padding"])
def test_bidirectional_is_two_unrolls(merge, masks):
  layer, cells, params, carry, xs = two_ways(merge)
  valid, _ = MASKS[masks]
  right, ys = unroll(cells[0], params[0], carry.forward, xs, valid=valid)
  left, zs = unroll(cells[1], params[1], carry.backward, xs, valid=valid, reverse=True)
  expected = BidirectionalCarry(right, left), MERGED[merge](ys, zs)
  close(layer.unroll(params, carry, xs, valid=valid), expected, 1e-6)


@pytest.mark.slow
def test_packed_documents_are_separate_ones():
  layer, _, params, _, xs = two_ways("concat")
  start = layer.carry(params, 1)
  valid = rows("111111", "111110", "011111")
  reset = rows("100100", "101000", "010011")
  _, ys = layer.unroll(params, layer.carry(params, B), xs, valid=valid, reset=reset)
  documents = {0: [(0, 3), (3, 6)], 1: [(0, 2), (2, 5)], 2: [(1, 4), (4, 5), (5, 6)]}
  for row, spans in documents.items():
    for first, last in spans:
      alone = layer.unroll(params, start, xs[first:last, row : row + 1])[1]
      close(ys[first:last, row], alone[:, 0], 1e-6)


def test_a_cell_stands_on_a_bidirectional_layer():
  below, _, params, carry, xs = two_ways("concat")
  above = REGISTRY["lstm"](2 * H, H)
  layer = layers.stacked(below, above)
  both = (params, parameters(above))
  start = layer.carry(both, B)._replace(layers=(carry, initial(above, both[1])))
  valid, _ = MASKS["padding"]
  middle, hidden = below.unroll(params, carry, xs, valid=valid)
  top, expected = unroll(above, both[1], start.layers[1], hidden, valid=valid)
  out, ys = layer.unroll(both, start, xs, valid=valid)
  close((out.layers, ys), ((middle, top), expected), 1e-6)


def test_what_bidirectional_refuses():
  layer, cells, params, carry, xs = two_ways("sum")
  with pytest.raises(ValueError, match="drop reverse"):
    layer.unroll(params, carry, xs, reverse=True)
  with pytest.raises(BadInput, match="merge=max: choose one of concat, sum"):
    layers.bidirectional(*cells, "max")


@pytest.mark.parametrize("name", ["lstm", "learned_carry", "deep"])
def test_the_flax_layer_is_the_unroll(name):
  cell, xs = CELLS[name], inputs()
  module = layers.Recurrent(cell)
  variables = module.init(jax.random.key(0), xs)
  params = module.apply(variables, method="core_params")
  assert jax.tree.structure(params) == jax.tree.structure(cell.init(jax.random.key(0)))
  valid, reset = MASKS["holes_resets"]
  options = {"valid": valid, "reset": reset}
  fresh = cell.carry(params, B)
  expected = unroll(cell, params, fresh, xs, **options)
  close(module.apply(variables, xs, **options), expected, 1e-6)
  same(module.apply(variables, B, method="initial_carry"), fresh)
  carry = initial(cell, params)
  expected = unroll(cell, params, carry, xs, reverse=True)
  close(module.apply(variables, xs, carry, reverse=True), expected, 1e-6)


@pytest.mark.parametrize("name", quickly(CELLS, "lstm", "association", "dropout"))
def test_half_precision_products_keep_a_full_precision_state(name):
  cell, xs = CELLS[name], inputs(name)
  params = parameters(cell)
  carry = initial(cell, params, key=None)

  def gradient(dtype):
    module = layers.Recurrent(cell, dtype)

    def loss(params):
      out = module.apply({"params": {"core": params}}, xs, carry)
      return pairing(out), out

    return quick(jax.grad(loss, has_aux=True))(params)

  half, out = gradient(jnp.bfloat16)
  full, expected = gradient(None)
  for leaf in reals((half, out)):
    assert leaf.dtype == np.float32
  close(out, expected, 0.1)
  close(half, full, 0.3)
  assert not np.array_equal(out[1], expected[1])


def test_the_flax_layer_crosses_the_bridge_to_nnx():
  cell, xs = CELLS["gru"], inputs()
  module = nnx.bridge.ToNNX(layers.Recurrent(cell), rngs=nnx.Rngs(0)).lazy_init(xs)
  params = module.core_params()
  expected = unroll(cell, params, cell.carry(params, B), xs)
  close(module(xs), expected, 1e-6)
