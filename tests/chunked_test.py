"""Cells that take many steps at once: their chunks are the loop of their steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_rows import made
from tables import B, D, H, close, halved, initial, noise, parameters, quick, unroll

from unroll import cells, compose, scan
from unroll.types import BadInput

NAMES = ["mlstm", "gated_delta"]
each = pytest.mark.parametrize("name", NAMES)


def masks(length):
  """Holes, padding and resets, other ones in each row; the first one is never there."""
  draw = np.random.default_rng(length)
  valid = draw.random((length, B)) < 0.8
  valid[:, 0] = False
  return {"valid": valid, "reset": draw.random((length, B)) < 0.08}


def drawn(name, evaluation, dtype=np.float32, *, length=37, chunk=8, heads=2):
  """A cell that is told how; its parameters, a carry, and inputs."""
  cell = cells.CELLS[name](D, H, heads=heads, chunk=chunk, evaluation=evaluation)
  params = parameters(cell, dtype)
  return cell, params, initial(cell, params), noise(3, length, B, D, dtype=dtype)


def gradient(cell, backward, **options):
  """Of all outputs and the last carry: the results, and what they depend on."""

  def loss(params, carry, xs):
    found = scan.unroll(cell, params, carry, xs, **options, backward=backward)
    carry, ys = found
    weights = jnp.cos(jnp.arange(ys.size, dtype=ys.dtype)).reshape(ys.shape)
    last = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(carry))
    return jnp.sum(weights * ys) + last, found

  return quick(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))


def both(name, length, masked, reverse, **sizes):
  """Results and gradients of chunks, and those of autodiff of single steps."""
  options = {**(masks(length) if masked else {}), "reverse": reverse}
  with jax.enable_x64(True):
    cell, *given = drawn(name, "chunked", np.float64, length=length, **sizes)
    steps, *_ = drawn(name, "sequential", **sizes)
    if length > 1:
      assert scan.path(cell, *given).name == "chunked"
    exact = gradient(steps, "autodiff", **options)(*given)
    return gradient(cell, "fast", **options)(*given), exact


@pytest.mark.parametrize(
  ("length", "masked", "reverse"), [(37, True, True), (16, False, False)]
)
@each
def test_chunks_are_the_loop(name, length, masked, reverse):
  close(*both(name, length, masked, reverse), 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("masked", "reverse"), [(True, False), (False, True)], ids=["masked", "reverse"]
)
@pytest.mark.parametrize(
  ("length", "chunk", "heads"),
  [(1, 8, 2), (2, 8, 1), (7, 8, 4), (127, 32, 2), (127, 1, 1), (1000, 64, 2)],
)
@each
def test_chunks_of_any_size_are_the_loop(name, length, chunk, heads, masked, reverse):
  close(*both(name, length, masked, reverse, chunk=chunk, heads=heads), 1e-8)


@each
def test_parts_of_a_sequence_are_the_whole(name):
  cell, params, carry, xs = drawn(name, "chunked", length=67)
  whole, ys = unroll(cell, params, carry, xs)
  parts = []
  for part in np.split(xs, [1, 32, 66]):  # one step too, as a stream has them
    carry, y = unroll(cell, params, carry, part)
    parts.append(y)
  close((carry, jnp.concatenate(parts)), (whole, ys), 1e-5)


@each
def test_no_step_and_no_sequence_give_nothing(name):
  cell, params, _, _ = drawn(name, "chunked")
  for length, rows in ((0, B), (20, 0)):
    carry = cell.carry(params, rows)
    last, ys = unroll(cell, params, carry, np.zeros((length, rows, D), np.float32))
    assert ys.shape == (length, rows, H)
    close(last, carry, 0)


@pytest.mark.slow
@each
def test_a_learned_carry_is_what_a_reset_puts_in_place(name):
  options = masks(20)
  found = []
  for evaluation in ("chunked", "sequential"):
    inner, _, _, xs = drawn(name, evaluation, length=20)
    cell = compose.learned_carry(inner)
    params = parameters(cell)
    carry = cell.carry(params, B)
    expected = "chunked" if evaluation == "chunked" else "recorded"
    assert scan.path(cell, params, carry, xs).name == expected
    found.append(gradient(cell, "fast", **options)(params, carry, xs))
  close(*found, 1e-4)


@each
def test_padding_of_any_kind_goes_nowhere(name):
  cell, params, carry, xs = drawn(name, "chunked")
  options = masks(len(xs))
  there = options["valid"][..., None]
  take = gradient(cell, "fast", **options)
  given = (np.where(there, xs, 0), np.where(there, xs, np.nan))
  zero, junk = (take(params, carry, x) for x in given)
  close(junk, zero, 0)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(junk))


@each
def test_every_carry_is_asked_of_single_steps(name):
  cell, params, carry, xs = drawn(name, "chunked")
  way = scan.path(cell, params, carry, xs, every=True)
  assert way.name == "recorded" and "every carry is asked for" in way.reason
  every, ys = quick(lambda *at: scan.unroll(cell, *at, every=True))(params, carry, xs)
  last, outputs = unroll(cell, params, carry, xs)
  close((jax.tree.map(lambda leaf: leaf[-1], every), ys), (last, outputs), 1e-5)


@each
def test_half_precision_products_leave_the_state_whole(name):
  found = []
  for evaluation in ("chunked", "sequential"):
    cell, params, carry, xs = drawn(name, evaluation)
    found.append(unroll(cell, halved(params), carry, xs))
  assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
  close(*found, 1e-4)


@each
def test_all_in_half_precision_is_near(name):
  cell, *given = drawn(name, "chunked")
  given = (given[0], cell.carry(given[0], B), given[2])
  half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), given)
  found = unroll(cell, *half)
  assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
  off = found[1].astype(np.float32) - unroll(cell, *given)[1]
  assert np.median(np.abs(off)) < 0.02


@pytest.mark.slow
@each
def test_second_derivatives_are_those_of_the_loop(name):
  def second(evaluation, backward):
    cell, params, carry, xs = drawn(name, evaluation, np.float64, length=9, chunk=4)

    def loss(params, xs):
      return jnp.sum(scan.unroll(cell, params, carry, xs, backward=backward)[1] ** 2)

    def norm(params, xs):
      leaves = jax.tree.leaves(jax.grad(loss, (0, 1))(params, xs))
      return sum(jnp.sum(leaf**2) for leaf in leaves)

    return quick(jax.grad(norm, (0, 1)))(params, xs)

  with jax.enable_x64(True):
    close(second("chunked", "fast"), second("sequential", "autodiff"), 1e-9)


@each
def test_the_gradient_keeps_few_carries(name):
  """It is what chunks are for beside speed: T / K carries, and not T."""

  def bytes_of(evaluation):
    cell = cells.CELLS[name](16, 64, chunk=16, evaluation=evaluation)
    params = cell.init(jax.random.key(0))
    carry, xs = cell.carry(params, B), noise(3, 256, B, 16)
    program = gradient(cell, "fast").lower(params, carry, xs).compile()
    return program.memory_analysis().temp_size_in_bytes

  assert 4 * bytes_of("chunked") < bytes_of("sequential")


TOLD = {
  "chunked": ("chunked", 37, 2, "chunked", "it takes 8 steps at once"),
  "sequential": ("sequential", 37, 2, "recorded", "evaluation='sequential' is asked"),
  "one step": ("chunked", 1, 2, "plain", "there are no two of them"),
  "no step": ("chunked", 0, 2, "plain", "there are no two of them"),
  "auto": ("auto", 37, 2, "recorded", "its carry is small"),
  "auto, short": ("auto", 7, 1, "recorded", "there are fewer than 8 of them"),
}


@pytest.mark.parametrize("case", TOLD)
@each
def test_the_path_says_which_and_why(name, case):
  evaluation, length, heads, expected, reason = TOLD[case]
  cell, *given = drawn(name, evaluation, length=length, heads=heads)
  found = scan.path(cell, *given)
  assert found.name == expected and reason in found.reason


@pytest.mark.parametrize(("heads", "expected"), [(1, "chunked"), (8, "recorded")])
@each
def test_auto_takes_chunks_where_the_memory_is_large(name, heads, expected):
  cell = cells.CELLS[name](D, 32, heads=heads)
  params = cell.init(jax.random.key(0))
  found = scan.path(cell, params, cell.carry(params, B), noise(3, 8, B, D))
  assert found.name == expected


@each
def test_a_chunk_has_a_step(name):
  with pytest.raises(BadInput, match="chunk=0: give the steps that are taken at once"):
    made(name, chunk=0)


@pytest.mark.parametrize("evaluation", ["chunked", "sequential"])
def test_gates_of_any_size_stay_in_range(evaluation):
  """An mLSTM whose gates are exp(±300), where the paper's plain C is infinite."""
  cell, params, carry, xs = drawn("mlstm", evaluation)
  gain = np.ones(4 * H + 4, np.float32)
  gain[4 * H :] = 300
  params = params._replace(w_x=params.w_x * gain[None])
  (_, found), grads = gradient(cell, "fast")(params, carry, xs)
  for leaf in jax.tree.leaves((found, grads)):
    assert np.all(np.isfinite(leaf))
  with jax.enable_x64(True):
    exact, *_ = drawn("mlstm", "sequential")
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, carry, xs))
    _, ys = unroll(exact, *wide)
  close(found[1], ys.astype(np.float32), 1e-3)


@pytest.mark.parametrize("evaluation", ["chunked", "sequential"])
def test_an_mlstm_knows_no_scale(evaluation):
  cell, params, carry, xs = drawn("mlstm", evaluation)
  scale = jnp.exp(jnp.float32(-20))
  moved = type(carry)(carry.c * scale, carry.n * scale, carry.m + 20)
  found, exact = (unroll(cell, params, held, xs)[1] for held in (moved, carry))
  close(found, exact, 1e-4)


def test_a_gated_delta_memory_replaces_what_a_key_finds():
  cell = cells.gated_delta(2 * H, H)
  d, open_, kept = np.eye(H, dtype=np.float32), 40.0, -40.0
  w_x = np.zeros((2 * H, 3 * H + 2), np.float32)
  w_x[:H, :H] = w_x[:H, H : 2 * H] = w_x[H:, 2 * H : 3 * H] = d  # q, k and v
  b = np.array([open_, kept], np.float32)  # write all, forget nothing
  params = cell.init(jax.random.key(0))._replace(w_x=w_x, b=b)
  keys = 9 * d[np.array([0, 1, 0, 2, 1])]
  values = np.abs(noise(1, 5, H))
  xs = np.concatenate([keys, values], axis=-1)[:, None]
  carry, ys = unroll(cell, params, cell.carry(params, 1), xs)
  written = values / (1 + np.exp(-values))
  np.testing.assert_allclose(ys[:, 0], written, atol=1e-4)
  held = np.stack([written[2], written[4], written[3], np.zeros(H)])
  np.testing.assert_allclose(carry.s[0, 0], held, atol=1e-4)
