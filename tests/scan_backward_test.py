"""The laws of `scan.unroll`'s gradients: exact, causal, and not of parameters alone."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  ACTIVATIONS,
  ALWAYS,
  CELLS,
  MASKS,
  NEVER,
  REGISTRY,
  USERS,
  B,
  D,
  H,
  T,
  close,
  gradients,
  halved,
  initial,
  inputs,
  jit,
  paired,
  pairing,
  parameters,
  quick,
  quickly,
  reals,
  unroll,
  way,
)

from unroll import linear, scan
from unroll.scan import matrix

EVERY = CELLS | ACTIVATIONS


def drawn(name: str, dtype):
  """A cell of the tables, and its parameters, carry and inputs."""
  cell = (EVERY | USERS)[name]
  params = parameters(cell, dtype)
  return cell, params, initial(cell, params), inputs(name, dtype)


def masked(masks: str, reverse: bool):
  valid, reset = MASKS[masks]
  return {"valid": valid, "reset": reset, "reverse": reverse}


@pytest.mark.parametrize(
  "name", quickly(EVERY | USERS, "lstm", "dropout", "irnn", *USERS)
)
def test_fast_is_autodiff(name):
  everything = drawn(name, np.float32)
  exact = gradients(*everything, backward="autodiff")
  close(gradients(*everything, backward="fast"), exact, 1e-5)


@pytest.mark.parametrize("name", quickly(EVERY, "gru", "lstm", "skip", "zoneout"))
def test_fast_is_autodiff_in_double_precision(name):
  options = masked("holes_resets", reverse=True)
  with jax.enable_x64(True):
    everything = drawn(name, np.float64)
    exact = gradients(*everything, **options, backward="autodiff")
    close(gradients(*everything, **options, backward="fast"), exact, 1e-10)


@pytest.mark.parametrize("name", quickly(REGISTRY, "lstm", "gru"))
@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
def test_large_matrices_by_columns_are_the_same(name, reverse, monkeypatch):
  options = masked("holes_resets", reverse)
  with jax.enable_x64(True):
    cell, params, *rest = drawn(name, np.float64)
    exact = gradients(cell, params, *rest, **options, backward="autodiff")
    values = unroll(cell, params, *rest, **options)
    monkeypatch.setattr(matrix, "LARGE", 0)
    monkeypatch.setattr(matrix, "LOOPS", 2)
    monkeypatch.setattr(linear, "ROWS", 1)
    monkeypatch.setattr(linear, "SIZABLE", 0)
    turned = quick(lambda *args: scan.unroll(cell, *args, **options)).lower(
      params, *rest
    )
    assert turned.as_text().count("optimization_barrier") >= 1
    close(turned.compile()(params, *rest), values, 1e-10)
    take = jax.grad(lambda *args: paired(*args, cell, rest[0], **options), (0, 1, 2))
    close(quick(take)(params, reals(rest[0]), rest[1]), exact, 1e-10)


@pytest.mark.parametrize("name", quickly(REGISTRY, "lstm", "rnn"))
def test_matrices_transposed_by_rows_are_the_same(name, monkeypatch):
  cell, params, carry, xs = drawn(name, np.float32)

  def traced_anew():
    take = jax.grad(lambda *args: paired(*args, cell, carry), (0, 1, 2))
    return quick(take)(params, reals(carry), xs)

  whole = traced_anew()
  monkeypatch.setattr(linear, "ROWS", 1)
  monkeypatch.setattr(linear, "SIZABLE", 0)
  jax.tree.map(np.testing.assert_array_equal, traced_anew(), whole)


@pytest.mark.parametrize("name", REGISTRY)
def test_half_precision_matrices_are_transposed_as_they_are(name, monkeypatch):
  """On a CPU XLA updates bfloat16 in place as float32: all of it, each time."""
  monkeypatch.setattr(linear, "SIZABLE", 0)
  monkeypatch.setattr(linear, "ROWS", 1)
  cell, params, carry, xs = drawn(name, np.float32)
  half = halved(params)
  take = jax.jit(jax.grad(lambda *args: paired(*args, cell, carry), (0, 1, 2)))
  program = take.lower(half, reals(carry), xs).compile().as_text()
  for rows, columns in {p.shape for p in jax.tree.leaves(params) if p.ndim == 2}:
    updates = rf"= (\w+)\[(?:1,)?{columns},{rows}\]\S* dynamic-update-slice\("
    assert set(re.findall(updates, program)) <= {"u16"}
  assert "u16" in program


@pytest.mark.parametrize("name", REGISTRY)
def test_half_precision_matrices_by_columns_are_the_same(name, monkeypatch):
  """Where there are sequences enough to fill a block of a product."""
  cell, params, carry, xs = drawn(name, np.float32)
  half = halved(params)

  def traced_anew():
    take = jax.grad(lambda *args: paired(*args, cell, carry), (0, 1, 2))
    return jax.jit(take).lower(half, reals(carry), xs)

  monkeypatch.setattr(linear, "SIZABLE", 0)
  monkeypatch.setattr(matrix, "LOOPS", 2)
  few = traced_anew()
  monkeypatch.setattr(matrix, "ROWS", B)
  many = traced_anew()
  assert "optimization_barrier" not in few.as_text()
  assert many.as_text().count("optimization_barrier") >= 2  # forward and backward
  results = (program.compile()(half, reals(carry), xs) for program in (few, many))
  few, many = (jax.tree.map(lambda g: g.astype("float32"), r) for r in results)
  close(many, few, 0.02)  # of rounding once


def test_a_step_alone_copies_no_matrix(monkeypatch):
  monkeypatch.setattr(matrix, "LARGE", 0)
  cell, params, carry, xs = drawn("lstm", np.float32)

  def transposes(steps):
    make = quick(lambda p, c, x: scan.unroll(cell, p, c, x))
    return (
      make.lower(params, carry, xs[:1].repeat(steps, 0))
      .as_text()
      .count("stablehlo.transpose")
    )

  assert transposes(1) == 0 < transposes(matrix.LOOPS)


value = jit(paired)


@pytest.mark.parametrize("name", quickly(CELLS, "lstm", "gru", "association", "locked"))
def test_fast_is_a_finite_difference(name):
  options = masked("holes_resets", reverse=True)
  with jax.enable_x64(True):
    cell, params, carry, xs = drawn(name, np.float64)
    point = (params, reals(carry), xs)
    direction = way(*point)

    def at(distance):
      params, real, xs = jax.tree.map(lambda p, w: p + distance * w, point, direction)
      return value(params, real, xs, cell=cell, carry=carry, **options)

    slope = (at(1e-5) - at(-1e-5)) / 2e-5
    grads = gradients(cell, params, carry, xs, **options, backward="fast")
    products = jax.tree.map(lambda g, w: jnp.sum(g * w), grads, direction)
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-6)


@pytest.mark.parametrize("name", quickly(CELLS, "lstm", "skip", "dropout"))
@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
def test_gradients_are_causal(name, reverse):
  everything = drawn(name, np.float32)
  reset = NEVER.copy()
  reset[2] = True  # with reverse: between steps 3 and 2

  def reached(t, reset):
    """Which inputs the outputs of row 1 at step t depend on, `[T, B]`."""
    scores = NEVER.copy()
    scores[t, 1] = True
    options = {"valid": ALWAYS, "reset": reset, "reverse": reverse}
    reached = gradients(*everything, scores, **options)[2] != 0
    return np.any(reached, axis=tuple(range(2, reached.ndim)))

  steps = np.arange(T)
  for t in range(T):
    past = steps >= t if reverse else steps <= t
    segment = (steps > 2) == (t > 2) if reverse else (steps >= 2) == (t >= 2)
    for now, allowed in ((NEVER, past), (reset, past & segment)):
      assert not np.any(reached(t, now)[~allowed])
      assert not np.any(reached(t, now)[:, [0, 2]])
  furthest = reached(0 if reverse else T - 1, NEVER)[:, 1]
  if name not in ("locked", "dropout", "irnn", "relu_rnn"):  # where a path may be shut
    assert np.all(furthest)


@pytest.mark.parametrize("name", ["lstm", "deep", "sliced", "twice"])
def test_weight_gradients_leave_the_loop(name):
  cell, params, carry, xs = drawn(name, np.float32)
  leaves = jax.tree.leaves(params)
  shapes = {leaf.shape for leaf in leaves if leaf.ndim == 2 and len(leaf) == H}

  def summed_in_the_loop(backward):
    """Whether a loop of the gradient carries the gradient of a matrix."""

    def loss(params):
      return pairing(scan.unroll(cell, params, carry, xs, backward=backward))

    loops = [
      eqn
      for eqn in jax.make_jaxpr(jax.grad(loss))(params).eqns
      if eqn.primitive.name == "scan"
    ]
    assert len(loops) >= 2
    return any(out.aval.shape in shapes for eqn in loops for out in eqn.outvars)

  assert summed_in_the_loop("autodiff")
  if name != "sliced":  # which is no product by a whole matrix
    assert not summed_in_the_loop("fast")


@pytest.mark.parametrize("name", [*REGISTRY, "projected", "learned_carry"])
def test_a_derivative_works_in_place(name):
  cell = EVERY[name]
  params = parameters(cell)
  carry = cell.carry(params, B)
  shape = jax.ShapeDtypeStruct((T, B, D), np.float32)
  for valid, reset in ((None, None), (ALWAYS, NEVER)):
    for reverse in (False, True):

      def loss(params, xs, carry, valid, reset, reverse=reverse):
        options = {"valid": valid, "reset": reset, "reverse": reverse}
        return pairing(scan.unroll(cell, params, carry, xs, **options))

      take = jax.jit(jax.grad(loss, (0, 1)))
      program = take.lower(params, shape, carry, valid, reset).compile().as_text()
      bodies = [part for part in program.split("\n\n") if "\nENTRY" not in f"\n{part}"]
      assert any("dynamic-update-slice" in body for body in bodies)
      copied = re.compile(rf"= f32\[({T}|{T + 1}),{B},\d+\]\S* copy\(")
      assert not copied.search(program), copied.findall(program)
