"""The laws of `scan.unroll`'s derivatives of other orders and in other precisions."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  CELLS,
  MASKS,
  USERS,
  B,
  D,
  H,
  close,
  halved,
  initial,
  inputs,
  noise,
  paired,
  parameters,
  quick,
  quickly,
  reals,
  user,
  way,
  with_reals,
)

from unroll import scan
from unroll.types import Cell, Lookup

ALL = {
  **CELLS,
  **USERS,
  "lstm, recorded": CELLS["lstm"]._replace(derivative=None),
  "gru, recorded": CELLS["gru"]._replace(derivative=None),
}
valid, reset = MASKS["holes_resets"]
EACH = pytest.mark.parametrize("name", quickly(ALL, "lstm", "deep", "twice"))
FORWARD = r"give backward='autodiff' for forward"  # what the refusal says to do


def drawn(name: str, dtype):
  """A cell, and the point at which it is differentiated: params, carry, xs."""
  cell = ALL[name]
  params = parameters(cell, dtype)
  carry = initial(cell, params)
  return cell, carry, (params, reals(carry), inputs(name, dtype))


def loss(cell: Cell, carry, backward: str):
  """`(params, real leaves of the carry, xs) -> scalar`, with masks, from the right."""
  options = {"valid": valid, "reset": reset, "reverse": True, "backward": backward}
  return lambda point: paired(*point, cell, carry, **options)


@EACH
def test_reverse_over_reverse(name):
  """Gradient penalties: the gradient of |dL/dθ|², |dL/dc|² and |dL/dx|²."""
  with jax.enable_x64(True):
    cell, carry, point = drawn(name, np.float64)

    def penalty(backward):
      take = jax.grad(loss(cell, carry, backward))
      return lambda at: sum(jnp.sum(g**2) for g in jax.tree.leaves(take(at)))

    both = quick(lambda at: [jax.grad(penalty(b))(at) for b in ("fast", "autodiff")])
    close(*both(point), 1e-9)


@EACH
def test_forward_over_reverse_is_a_finite_difference(name):
  """Products with the Hessian, of both backward passes."""
  with jax.enable_x64(True):
    cell, carry, point = drawn(name, np.float64)
    direction = way(*point)

    @quick
    def products(at):
      return [
        jax.jvp(jax.grad(loss(cell, carry, backward)), (at,), (direction,))[1]
        for backward in ("fast", "autodiff")
      ]

    fast, exact = products(point)
    close(fast, exact, 1e-9)
    take = quick(jax.grad(loss(cell, carry, "fast")))
    ahead, behind = (
      take(jax.tree.map(lambda p, w, s=step: p + s * w, point, direction))
      for step in (1e-5, -1e-5)
    )
    if name not in ("irnn", "relu_rnn"):  # whose slope jumps
      close(exact, jax.tree.map(lambda a, b: (a - b) / 2e-5, ahead, behind), 1e-5)


@pytest.mark.parametrize("name", ["rnn", "lstm", "deep", "dropout", "lstm, recorded"])
def test_forward_mode_is_autodiff(name):
  with jax.enable_x64(True):
    cell, carry, point = drawn(name, np.float64)
    direction = way(*point)
    slope = quick(
      lambda at: jax.jvp(loss(cell, carry, "autodiff"), (at,), (direction,))[1]
    )(point)
    grads = quick(jax.grad(loss(cell, carry, "fast")))(point)
    products = jax.tree.map(lambda g, w: jnp.sum(g * w), grads, direction)
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-10)
    fast = loss(cell, carry, "fast")
    for outer, inner in itertools.product((lambda f: f, jax.jit), repeat=2):
      with pytest.raises(TypeError, match=FORWARD):
        outer(lambda at: jax.jvp(inner(fast), (at,), (direction,)))(point)  # noqa: B023


@pytest.mark.parametrize("outer", [quick, lambda f: f], ids=["jit", "eager"])
@pytest.mark.parametrize(
  "name", quickly(["rnn", "lstm", "gru", "lstm, recorded", "dot"], "lstm", "dot")
)
def test_forward_mode_passes_by_reverse_mode_for_another(name, outer):
  """How the gradient for the carry changes with parameters: autodiff computes it."""
  cell, carry, (params, real, xs) = drawn(name, np.float32)
  table, ids = noise(4, 2, D), np.arange(6 * B).reshape(6, B) % 2

  def slope(params, way, xs, backward):
    def of_carry(params):
      options = {"valid": valid, "reset": reset, "backward": backward}
      return jax.grad(lambda r: paired(params, r, xs, cell, carry, **options))(real)

    return jax.jvp(of_carry, (params,), (way,))[1]

  (direction,) = way(params)
  for given in (xs, Lookup(table, ids)):
    outer(partial(slope, backward="autodiff"))(params, direction, given)
    with pytest.raises(TypeError, match=FORWARD):
      outer(partial(slope, backward="fast"))(params, direction, given)


@pytest.mark.parametrize("outer", [quick, lambda f: f], ids=["jit", "eager"])
def test_forward_mode_of_what_a_step_closes_over(outer):
  base, carry, (params, _, xs) = drawn("lstm, recorded", np.float32)
  gain = noise(11, B, H)

  def slope(gain):
    def run(gain):
      return scan.unroll(closing(gain, base), params, carry, xs)[1]

    return jax.jvp(run, (gain,), (gain,))[1]

  with pytest.raises(TypeError, match=FORWARD):
    outer(slope)(gain)


@pytest.mark.parametrize("outer", [quick, lambda f: f], ids=["jit", "eager"])
def test_forward_mode_of_a_half_precision_product_of_constants(outer):
  """Reverse mode is for no factor of it within the step."""
  cell = user(lambda h, w: h * (jnp.ones_like(h) @ w))
  params, xs = halved(parameters(cell)), inputs()
  carry = jnp.zeros((B, H), np.float32)

  def slope(backward, params, way):
    def loss(params):
      return jnp.sum(
        jnp.sin(scan.unroll(cell, params, carry, xs, backward=backward)[1])
      )

    return jax.jvp(jax.grad(loss), (params,), (way,))[1]

  found, exact = (
    outer(partial(slope, b))(params, params) for b in ("fast", "autodiff")
  )
  close(found, exact, 0.02)


def closing(gain, base: Cell) -> Cell:
  """A cell whose step reads an array that is no parameter: attention to a memory."""

  def step(params, carry, z):
    carry, _ = base.step(params, carry, z)
    carry = carry._replace(h=jnp.tanh(carry.h * gain))
    return carry, carry.h

  def forward(params, carry, z):
    assert base.derivative
    carry, _, saved = base.derivative.forward(params, carry, z)
    h = jnp.tanh(carry.h * gain)
    return carry._replace(h=h), h, saved

  derivative = base.derivative and base.derivative._replace(forward=forward)
  return base._replace(step=step, derivative=derivative)


@pytest.mark.parametrize("name", ["lstm", "lstm, recorded", "gru", "rnn"])
@pytest.mark.parametrize("outer", [quick, lambda f: f], ids=["jit", "eager"])
def test_what_a_step_closes_over_has_its_gradient(name, outer):
  with jax.enable_x64(True):
    base, carry, (params, _, xs) = drawn(name, np.float64)
    gain = noise(11, B, H, dtype=np.float64)

    def value(params, gain, backward):
      cell = closing(gain, base)
      run = scan.unroll(cell, params, carry, xs, valid=valid, backward=backward)
      return jnp.sum(jnp.sin(run[1]))

    fast, exact = (
      outer(jax.grad(lambda *at, b=b: value(*at, b), (0, 1)))(params, gain)
      for b in ("fast", "autodiff")
    )
    assert np.any(np.abs(exact[1]) > 0.1)
    close(fast, exact, 1e-10)


LONG = 2000


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
@pytest.mark.parametrize(
  "name", quickly(["rnn", "gru", "lstm", "lstm, recorded", "peephole"], "lstm", "gru")
)
def test_half_precision_gradients_of_long_sequences_keep_growing(name, backward):
  """A sum of bfloat16 numbers stops where the next is too small to change it."""
  cell = ALL[name]
  params = jax.tree.map(lambda p: 0.3 * p, parameters(cell))
  xs = np.abs(noise(3, LONG, B, D))  # gradients of one sign: their sum grows

  def value(params, dtype, backward):
    carry = cell.carry(params, B)
    carry = jax.tree.map(lambda leaf: leaf.astype(dtype), carry)
    run = scan.unroll(cell, params, carry, xs.astype(dtype), backward=backward)
    return jnp.sum(run[1])

  half = halved(params)
  found = quick(jax.grad(lambda p: value(p, np.float32, backward)))(half)
  with jax.enable_x64(True):
    whole = jax.tree.map(lambda p: np.asarray(p, np.float64), half)
    exact = quick(jax.grad(lambda p: value(p, np.float64, "autodiff")))(whole)
  found, exact = (jax.tree.map(np.float64, tree) for tree in (found, exact))
  close(found, exact, 0.02)


@pytest.mark.parametrize(
  "name",
  quickly([*(n for n in ALL if n not in USERS), "twice"], "lstm", "dropout", "twice"),
)
def test_parameters_and_inputs_of_two_precisions(name):
  """Parameters all in bfloat16, inputs in float32: computed in the wider of the two."""
  cell = ALL[name]
  params = jax.tree.map(lambda p: p.astype("bfloat16"), parameters(cell))
  wide = jax.tree.map(lambda p: p.astype("float32"), params)
  carry, xs = initial(cell, wide), inputs(name)

  def value(params, carry, backward):
    options = {"valid": valid, "reset": reset, "backward": backward}
    after, ys = scan.unroll(cell, params, carry, xs, **options)
    assert ys.dtype == np.float32
    assert [leaf.dtype for leaf in reals(after)] == [
      leaf.dtype for leaf in reals(carry)
    ]
    return jnp.sum(jnp.sin(ys))

  half = with_reals(carry, [leaf.astype("bfloat16") for leaf in reals(carry)])
  with jax.numpy_dtype_promotion("standard"):
    exact = quick(jax.grad(lambda p: value(p, carry, "autodiff")))(wide)
    for backward in ("fast", "autodiff"):
      found = quick(jax.grad(lambda p, b=backward: value(p, half, b)))(params)
      assert all(g.dtype == jnp.bfloat16 for g in jax.tree.leaves(found))
      close(jax.tree.map(lambda g: g.astype("float32"), found), exact, 0.04)
