"""The laws of what is constant over time: a step reads it, its gradient is exact."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rows import Hidden, drawn
from tables import (
  MASKS,
  REGISTRY,
  B,
  D,
  H,
  T,
  close,
  halved,
  inputs,
  noise,
  pairing,
  parameters,
  quick,
  quickly,
  same,
)

from unroll import compose, layers, remat, scan
from unroll.types import Array, Cell, Lookup

PLACES = 5  # of the memory


class Context(NamedTuple):
  """`memory [B, places, H]`, its `mask [B, places]`, and a `gain [H]` of all."""

  memory: Array
  mask: Array
  gain: Array


def attending(product=lambda h, w: h @ w, input_size: int = D) -> Cell:
  """h = tanh(x W + h U + (softmax(h M) M) ⊙ g), M the memory: attention to it."""

  def init(key):
    w_x, w_h = jax.random.split(key)
    return {"x": drawn(w_x, input_size, H), "h": drawn(w_h, H, H)}

  def step(params, carry, z, context):
    memory = context.memory
    scores = jnp.einsum("bh,bmh->bm", carry.h, memory)
    weights = jax.nn.softmax(jnp.where(context.mask, scores, -1e9), axis=-1)
    read = jnp.einsum("bm,bmh->bh", weights, memory)
    gain = jnp.broadcast_to(context.gain, read.shape)
    h = jnp.tanh(z + product(carry.h, params["h"]) + read * gain)
    return Hidden(h), 2 * h

  return Cell(
    init,
    lambda params, batch: Hidden(jnp.zeros((batch, H), params["x"].dtype)),
    lambda params, xs: xs @ params["x"],
    step,
    context=True,
  )


CELLS = {
  "recorded": attending(),
  "plain": attending(jnp.dot),
  "learned": compose.learned_carry(attending()),
  "deep": compose.deep(REGISTRY["gru"](D, H), attending(input_size=H)),
}
each = pytest.mark.parametrize("name", CELLS)


def context(dtype=np.float32) -> Context:
  mask = np.ones((B, PLACES), bool)
  mask[0, 3:] = mask[1, 1:] = False
  return Context(noise(21, B, PLACES, H, dtype=dtype), mask, noise(22, H, dtype=dtype))


def prepared(name, dtype=np.float32):
  cell = CELLS[name]
  params = parameters(cell, dtype)
  return cell, params, cell.carry(params, B), inputs(dtype=dtype), context(dtype)


def options(masks: str, reverse: bool):
  valid, reset = MASKS[masks]
  return {"valid": valid, "reset": reset, "reverse": reverse}


def closed(cell: Cell, read: Context) -> Cell:
  """The cell that has its context built in."""
  step = cell.step
  return cell._replace(step=lambda *at: step(*at, read), context=False)


def loss(cell, params, real, xs, mask, carry=None, **options):
  """⟨results, noise⟩, of params, the real parts of the context, and xs."""
  carry = cell.carry(params, B) if carry is None else carry
  read = Context(real[0], mask, real[1])
  return pairing(scan.unroll(cell, params, carry, xs, context=read, **options))


def gradients(cell, params, xs, read, **options):
  take = jax.grad(lambda *at: loss(cell, *at, read.mask, **options), argnums=(0, 1, 2))
  return quick(take)(params, (read.memory, read.gain), xs)


@each
@pytest.mark.parametrize("masks", ["none", "holes_resets"])
@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
def test_a_context_is_what_a_step_closes_over(name, masks, reverse):
  cell, params, carry, xs, read = prepared(name)
  asked = options(masks, reverse)
  found = quick(lambda *at: scan.unroll(cell, *at, context=read, **asked))
  plain = quick(
    lambda *at: scan.unroll(closed(cell, read), *at, backward="autodiff", **asked)
  )
  close(found(params, carry, xs), plain(params, carry, xs), 1e-6)


@each
@pytest.mark.parametrize("masks", quickly(["none", "holes_resets"], "holes_resets"))
def test_its_gradient_is_exact(name, masks):
  with jax.enable_x64(True):
    cell, params, _, xs, read = prepared(name, np.float64)
    asked = options(masks, masks != "none")
    fast, exact = (
      gradients(cell, params, xs, read, backward=b, **asked)
      for b in ("fast", "autodiff")
    )
    close(fast, exact, 1e-10)
    assert all(np.any(np.abs(g) > 1e-3) for g in jax.tree.leaves(fast[1]))
    assert not np.any(fast[1][0][~read.mask])
    point = (params, (read.memory, read.gain), xs)
    way = jax.tree.map(lambda leaf: noise(9, *leaf.shape, dtype=leaf.dtype), point)

    @quick
    def at(distance):
      moved = jax.tree.map(lambda p, w: p + distance * w, point, way)
      return loss(cell, *moved, read.mask, **asked)

    slope = (at(1e-5) - at(-1e-5)) / 2e-5
    products = jax.tree.map(lambda g, w: jnp.sum(g * w), fast, way)
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-6)


@pytest.mark.parametrize("name", ["recorded", "plain"])
def test_it_has_second_derivatives(name):
  with jax.enable_x64(True):
    cell, params, _, xs, read = prepared(name, np.float64)

    def penalty(memory, backward):
      take = jax.grad(
        lambda m: loss(cell, params, (m, read.gain), xs, read.mask, backward=backward)
      )
      return jnp.sum(take(memory) ** 2)

    fast, exact = (
      quick(jax.grad(lambda m, b=b: penalty(m, b)))(read.memory)
      for b in ("fast", "autodiff")
    )
    close(fast, exact, 1e-9)


@pytest.mark.parametrize("name", ["recorded", "deep"])
def test_under_vmap_each_has_its_own(name):
  cell, params, carry, xs, read = prepared(name)
  others = jax.tree.map(lambda leaf: np.stack([leaf, leaf[..., ::-1]]), read[::2])

  def one(real):
    return loss(cell, params, real, xs, read.mask, carry)

  take = jax.grad(lambda both: jnp.sum(jax.vmap(one)(both) * np.float32([1, 3])))
  found = quick(take)(others)
  each = [
    jax.grad(one)(jax.tree.map(lambda leaf, i=i: leaf[i], others)) for i in (0, 1)
  ]
  close(found, jax.tree.map(lambda a, b: jnp.stack([a, 3 * b]), *each), 1e-5)


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
@pytest.mark.parametrize("name", ["recorded", "plain"])
def test_half_precision_gradients_keep_growing(name, backward):
  """A sum of bfloat16 numbers stops at 256 of them."""
  length = 2000
  cell, params, _, _, read = prepared(name)
  params = jax.tree.map(lambda p: 0.1 * p, params)
  xs = np.abs(noise(3, length, B, D))

  def value(real, dtype):
    real = jax.tree.map(lambda leaf: leaf.astype(dtype), real)
    typed = jax.tree.map(lambda p: p.astype(dtype), params)
    carry = cell.carry(typed, B)
    inner = Context(real[0], read.mask, real[1])
    options = {"context": inner, "backward": backward}
    return jnp.sum(scan.unroll(cell, typed, carry, xs.astype(dtype), **options)[1])

  with jax.numpy_dtype_promotion("standard"):
    take = jax.grad(lambda gain, t: value((read.memory, gain), t))
    half, exact = (
      quick(lambda g, t=t: take(g, t))(read.gain) for t in (jnp.bfloat16, jnp.float32)
    )
  close(half.astype("float32"), exact, 0.05)


@pytest.mark.parametrize("name", ["recorded", "plain", "deep"])
@pytest.mark.parametrize("backward", ["fast", "autodiff"])
def test_it_is_not_kept_for_every_step(name, backward):
  """No array of the program is as large as T memories."""
  cell, params, _, xs, _ = prepared(name)
  places, length = 70, 50
  memory = noise(1, B, places, H)
  mask = np.ones((B, places), bool)
  xs = noise(3, length, B, D)

  def run(params, memory):
    real = (memory, noise(22, H))
    return loss(
      cell, params, real, xs, mask, **options("none", True), backward=backward
    )

  text = jax.jit(jax.grad(run, (0, 1))).lower(params, memory).compile().as_text()
  assert f"[{length},{B},{H}]" in text
  assert f"[{length},{B},{places},{H}]" not in text


@pytest.mark.parametrize("name", ["recorded", "deep"])
def test_a_lookup_may_be_read_beside_it(name):
  cell, params, carry, _, read = prepared(name)
  ids = np.random.default_rng(1).integers(0, 4, (T, B))
  table = noise(5, 4, D)
  looked = Lookup(table, ids)
  close(
    scan.unroll(cell, params, carry, looked, context=read),
    scan.unroll(cell, params, carry, looked.dense(), context=read),
    1e-6,
  )


def stack():
  return layers.stacked(REGISTRY["gru"](D, H), attending(input_size=H))


LAYERS = {
  "stacked": stack(),
  "rematerialised": layers.rematerialised(stack(), remat.every(2)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("masks", ["none", "holes_resets"])
def test_layers_pass_it_to_those_that_read_it(name, masks):
  deep, params, carry, xs, read = prepared("deep")
  asked = options(masks, reverse=masks != "none")

  def run(unroll):
    def value(params, memory):
      return pairing(
        unroll(params, carry, xs, context=read._replace(memory=memory), **asked)
      )

    return quick(jax.grad(value, (0, 1)))(params, read.memory)

  found = run(LAYERS[name].unroll)
  close(found, run(lambda *at, **o: scan.unroll(deep, *at, **o)), 1e-5)


def test_one_direction_may_read_it():
  reading, other = attending(), REGISTRY["gru"](D, H)
  layer = layers.bidirectional(reading, other)
  params = layer.init(jax.random.key(0))
  carry, xs, read = layer.carry(params, B), inputs(), context()
  _, ys = layer.unroll(params, carry, xs, context=read)
  _, left = scan.unroll(reading, params[0], carry[0], xs, context=read)
  _, right = scan.unroll(other, params[1], carry[1], xs, reverse=True)
  close(ys, np.concatenate([left, right], -1), 1e-6)


def test_the_flax_layer_takes_it():
  cell, _, _, xs, read = prepared("recorded")
  module = layers.Recurrent(cell)
  variables = module.init(jax.random.key(0), xs, context=read)
  params = module.apply(variables, method="core_params")
  expected = scan.unroll(cell, params, cell.carry(params, B), xs, context=read)
  same(module.apply(variables, xs, context=read), expected)


def test_half_precision_matrices_beside_it():
  cell, params, carry, xs, read = prepared("recorded")
  run = scan.unroll(cell, halved(params), carry, xs, context=read)
  assert run[1].dtype == np.float32
  close(run, scan.unroll(cell, params, carry, xs, context=read), 0.05)


@pytest.mark.parametrize("unrolled", ["cell", "stack", "pair"])
def test_a_context_too_many_or_too_few_is_refused(unrolled):
  xs, read = inputs(), context()

  def run(cell, **options):
    parts = {
      "cell": lambda: layers.recurrent(cell),
      "stack": lambda: layers.stacked(cell, REGISTRY["rnn"](H, H)),
      "pair": lambda: layers.bidirectional(cell, cell),
    }
    layer = parts[unrolled]()
    params = layer.init(jax.random.key(0))
    layer.unroll(params, layer.carry(params, B), xs, **options)

  with pytest.raises(ValueError, match="reads a context, and there is none: give"):
    run(attending())
  with pytest.raises(ValueError, match="this cell reads none: drop it, or give a cell"):
    run(REGISTRY["gru"](D, H), context=read)
