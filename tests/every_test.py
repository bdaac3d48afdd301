"""The laws of `every`: each carry is that of a sequence cut there, with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  CELLS,
  DEEP,
  MASKS,
  USERS,
  B,
  T,
  close,
  initial,
  inputs,
  noise,
  pairing,
  parameters,
  quick,
  quickly,
  reals,
  with_reals,
)

from unroll import layers, remat, scan
from unroll.types import is_draw

all_cells = pytest.mark.parametrize(
  "name",
  quickly([*CELLS, "dot"], "lstm", "dropout", "dot"),
)


def prepared(name, dtype=np.float32):
  cell = (CELLS | USERS)[name]
  params = parameters(cell, dtype)
  return cell, params, initial(cell, params), inputs(name, dtype)


def options(masks: str, reverse: bool):
  valid, reset = MASKS[masks]
  return {"valid": valid, "reset": reset, "reverse": reverse}


def step_of(carries, t):
  return jax.tree.map(lambda leaf: leaf[t], carries)


@all_cells
@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
def test_each_carry_is_that_of_a_sequence_cut_there(name, reverse):
  cell, params, carry, xs = prepared(name)
  valid, reset = MASKS["holes_resets"]

  @quick
  def run(carry):
    masks = {"valid": valid, "reset": reset, "reverse": reverse}
    whole = scan.unroll(cell, params, carry, xs, **masks, every=True)
    cut = {}
    for t in (0, 2, T - 1):
      part = slice(t, None) if reverse else slice(t + 1)
      masks = {"valid": valid[part], "reset": reset[part], "reverse": reverse}
      cut[t] = scan.unroll(cell, params, carry, xs[part], **masks)[0]
    return (
      whole,
      cut,
      scan.unroll(cell, params, carry, xs, **options("holes_resets", reverse))[1],
    )

  (carries, ys), cut, expected = run(carry)
  close(ys, expected, 1e-6)
  for t, carry in cut.items():
    close(step_of(carries, t), carry, 1e-6)


@all_cells
@pytest.mark.parametrize("masks", ["none", "holes_resets"])
def test_gradients_flow_into_each(name, masks):
  asked = options(masks, reverse=masks != "none")
  with jax.enable_x64(True):
    cell, params, carry, xs = prepared(name, np.float64)
    count = len(reals(carry))

    def loss(params, real, xs, backward):
      start = with_reals(carry, real)
      run = scan.unroll(cell, params, start, xs, **asked, backward=backward, every=True)
      return pairing(run)

    fast, exact = (
      quick(jax.grad(lambda *at, b=b: loss(*at, b), (0, 1, 2)))(
        params, reals(carry), xs
      )
      for b in ("fast", "autodiff")
    )
    assert count == len(fast[1])
    close(fast, exact, 1e-10)


@pytest.mark.parametrize("name", ["lstm", "projected", "association", "dot"])
def test_a_gradient_reaches_one_step_alone(name):
  """That of the carry at step t is that of a sequence cut there."""
  cell, params, carry, xs = prepared(name)
  t = 3

  def at(xs):
    return pairing(step_of(scan.unroll(cell, params, carry, xs, every=True)[0], t))

  def cut(xs):
    return pairing(scan.unroll(cell, params, carry, xs[: t + 1])[0])

  found, expected = jax.grad(at)(xs), jax.grad(cut)(xs)
  close(found, expected, 1e-5)
  assert not np.any(found[t + 1 :])


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
@pytest.mark.slow
def test_layer_by_layer_is_step_by_step(name, reverse):
  cell, (parts, wiring) = CELLS[name], DEEP[name]
  params = parameters(cell)
  carry, xs = initial(cell, params), inputs()
  asked = options("holes_resets", reverse) | {"every": True}
  deep = scan.unroll(cell, params, carry, xs, **asked)
  stacked = layers.stacked(*parts, wiring=wiring)
  for layer in (stacked, layers.rematerialised(stacked, remat.every(4))):
    found = layer.unroll(params, carry, xs, **asked)
    draws = [jax.tree.leaves(tree, is_leaf=is_draw) for tree in (found[0], deep[0])]
    for a, b in zip(*draws, strict=True):
      close(a, b, 1e-5)
    close(found[1], deep[1], 1e-5)


@pytest.mark.parametrize("name", ["lstm", "echo", "dot"])
@pytest.mark.parametrize("length", [0, 1])
def test_of_no_step_there_is_none(name, length):
  cell, params, carry, xs = prepared(name)
  carries, ys = scan.unroll(cell, params, carry, xs[:length], every=True)
  for leaf in jax.tree.leaves((carries, ys)):
    assert leaf.shape[:2] == (length, B)


def test_under_vmap():
  cell, params, carry, xs = prepared("lstm")
  both = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)

  def norms(params, backward):
    run = scan.unroll(cell, params, carry, xs, every=True, backward=backward)
    return pairing(run[0])

  def total(both, backward):
    scale = noise(1, 2)
    return jnp.sum(scale * jax.vmap(lambda p: norms(p, backward))(both))

  fast, exact = (
    quick(jax.grad(lambda p, b=b: total(p, b)))(both) for b in ("fast", "autodiff")
  )
  close(fast, exact, 1e-5)
