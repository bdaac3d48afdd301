"""Linear recurrences: every evaluation, chunked and streamed, is the loop of steps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_rows import made
from tables import B, D, close, initial, noise, parameters, quick, quickly, unroll

from unroll import compose, scan
from unroll.pairs import Pair
from unroll.scan.recurrence import recurrence

EVALUATIONS = ("sequential", "chunked", "associative")
WAYS = [pytest.param(False, id=""), pytest.param(True, id="reverse")]


def masks(length):
  """Holes, padding and resets, other ones in each row."""
  draw = np.random.default_rng(length)
  return {
    "valid": draw.random((length, B)) < 0.8,
    "reset": draw.random((length, B)) < 0.05,
  }


def evaluated(name, evaluation, dtype=np.float64):
  """A cell of a row, told how; its parameters and a carry."""
  cell = made(name, evaluation=evaluation)
  params = parameters(cell, dtype)
  return cell, params, initial(cell, params)


def gradient(cell, options, backward):
  """Of everything: a loss of all outputs and the last carry."""

  def loss(params, carry, xs):
    carry, ys = scan.unroll(cell, params, carry, xs, **options, backward=backward)
    weights = jnp.cos(jnp.arange(ys.size, dtype=ys.dtype)).reshape(ys.shape)
    last = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(carry))
    return jnp.sum(weights * ys) + last

  return quick(jax.value_and_grad(loss, (0, 1, 2)))


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("name", quickly(["qrnn", "lru", "s4d"], "lru"))
def test_every_evaluation_is_the_loop(name, evaluation):
  with jax.enable_x64(True):
    cell, params, carry = evaluated(name, evaluation)
    given = (params, carry, noise(3, 67, B, D, dtype=np.float64))
    options = {**masks(67), "reverse": True}
    exact = gradient(cell, options, "autodiff")(*given)
    close(gradient(cell, options, "fast")(*given), exact, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("length", "masked", "reverse"),
  [(1, 1, 1), (2, 1, 0), (127, 0, 1), (1000, 1, 0), (4099, 1, 1)],
)
@pytest.mark.parametrize("name", ["min_gru", "qrnn", "lru", "s4d"])
def test_every_cell_in_every_evaluation_is_the_loop(name, length, masked, reverse):
  with jax.enable_x64(True):
    options = {**(masks(length) if masked else {}), "reverse": bool(reverse)}
    xs = noise(3, length, B, D, dtype=np.float64)
    cell, params, carry = evaluated(name, "auto")
    exact = gradient(cell, options, "autodiff")(params, carry, xs)
    for evaluation in EVALUATIONS:
      cell, *_ = evaluated(name, evaluation)
      close(gradient(cell, options, "fast")(params, carry, xs), exact, 1e-8)


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize(
  "name", quickly(["qrnn", "lru", "rg_lru", "s4d"], "qrnn", "s4d")
)
def test_parts_of_a_sequence_are_the_whole(name, evaluation):
  cell, params, carry = evaluated(name, evaluation, np.float32)
  xs = noise(4, 130, B, D)
  whole, ys = unroll(cell, params, carry, xs)
  parts = []
  for part in np.split(xs, [1, 64, 129]):  # one step too, as a stream has them
    carry, y = unroll(cell, params, carry, part)
    parts.append(y)
  close((carry, jnp.concatenate(parts)), (whole, ys), 1e-5)


def loop(a, b, start, reverse):
  """The recurrence as JAX's scan has it, of complex numbers."""

  def step(state, row):
    state = row[0] * state + row[1]
    return state, state

  rows = (jnp.broadcast_to(a, b.shape), b)
  last, states = jax.lax.scan(step, start, rows, reverse=reverse)
  return states, last


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("reverse", WAYS)
@pytest.mark.parametrize(
  "timed", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["", "constant"]
)
def test_gradients_of_any_order_are_those_of_the_loop(evaluation, reverse, timed):
  length = 12
  with jax.enable_x64(True):
    draws = iter(noise(5, 8, length, B, D, dtype=np.float64))
    a = Pair(*(jnp.tanh(next(draws)) * 0.7 for _ in range(2)))
    a = a if timed else Pair(a.re[0, 0], a.im[0, 0])
    given = (a, Pair(next(draws), next(draws)), Pair(next(draws)[0], next(draws)[0]))

    def ours(*given):
      return recurrence(*given, reverse=reverse, evaluation=evaluation)

    def plain(*given):
      found = loop(*(jax.lax.complex(*pair) for pair in given), reverse)
      return tuple(Pair(part.real, part.imag) for part in found)

    def loss(run, *given):
      return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(run(*given)))

    def first(run, *given):
      found = jax.grad(lambda *given: loss(run, *given), (0, 1, 2))(*given)
      return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(found))

    for order in (loss, first):

      def take(run, order=order):
        return quick(jax.grad(lambda *given: order(run, *given), (0, 1, 2)))(*given)

      close(take(ours), take(plain), 1e-9)


def test_no_step_and_no_sequence_give_nothing():
  for evaluation, (length, rows) in itertools.product(EVALUATIONS, [(0, B), (5, 0)]):
    cell, params, _ = evaluated("min_gru", evaluation, np.float32)
    carry = cell.carry(params, rows)
    last, ys = unroll(cell, params, carry, np.zeros((length, rows, D), np.float32))
    assert ys.shape[:2] == (length, rows)
    close(last, carry, 0)


@pytest.mark.parametrize("name", ["qrnn", "lru"])
def test_a_learned_carry_leaves_a_cell_linear(name):
  cell = compose.learned_carry(made(name))
  params, xs = parameters(cell), noise(3, 9, B, D)
  carry = cell.carry(params, B)
  assert scan.path(cell, params, carry, xs).name == "linear"
  options = masks(9)
  exact = gradient(cell, options, "autodiff")(params, carry, xs)
  close(gradient(cell, options, "fast")(params, carry, xs), exact, 1e-4)
