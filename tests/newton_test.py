"""All steps of a nonlinear cell at once: the states and gradients of the loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, H, close, initial, inputs, noise, parameters, quick, quickly

from unroll import cells, clipping, compose, regularizers, scan
from unroll.newton import Newton, named_evaluation
from unroll.types import BadInput

NAMES = ("rnn", "gru", "lstm", "cfc", "lstm_peephole", "slstm")
WAYS = {
  "newton": Newton(),
  "damped": Newton(damping=0.1),
  "quasi_newton": Newton("diagonal"),
  "parallel": None,  # a loop, its gradient a tree
}


def masks(length):
  """Holes and resets, other ones in each row."""
  draw = np.random.default_rng(length)
  return {
    "valid": draw.random((length, B)) < 0.8,
    "reset": draw.random((length, B)) < 0.1,
  }


def asking(cell, way):
  """A cell that is evaluated in one of `WAYS`, and the backward pass to ask for."""
  chosen = WAYS[way]
  return cell._replace(newton=chosen), "fast" if chosen else "parallel"


def drawn(cell, length, dtype=np.float64):
  params = parameters(cell, dtype)
  return params, initial(cell, params), inputs("", dtype, length)


def loss_of(cell, backward="fast", **options):
  """Of all outputs and the last carry."""

  def loss(params, carry, xs):
    carry, ys = scan.unroll(cell, params, carry, xs, **options, backward=backward)
    weights = jnp.cos(jnp.arange(ys.size, dtype=ys.dtype)).reshape(ys.shape)
    last = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(carry))
    return jnp.sum(weights * ys) + last

  return loss


def gradient(cell, backward="fast", **options):
  return quick(jax.value_and_grad(loss_of(cell, backward, **options), (0, 1, 2)))


def agrees(name, way, length, tolerance, dtype=np.float64, **options):
  base = cells.CELLS[name](D, H)
  cell, backward = asking(base, way)
  given = drawn(base, length, dtype)
  told = "newton" if cell.newton else "adjoint"
  asked = {"backward": backward, **options}
  assert scan.path(cell, *given, **_known(asked)).name == told
  with scan.reports() as reports:
    found = gradient(cell, **asked)(*given)
  if length > 2:  # so few need no method
    assert all(report.converged for report in reports)
  assert len(reports) == bool(cell.newton)
  close(found, gradient(base, **options)(*given), tolerance)


def _known(options):
  return {name: value for name, value in options.items() if name != "reverse"}


@pytest.mark.parametrize("way", quickly(WAYS, "newton", "parallel"))
@pytest.mark.parametrize("name", quickly(NAMES, "rnn"))
def test_values_and_gradients_are_those_of_the_loop(name, way):
  with jax.enable_x64(True):
    tolerance = 1e-10 if way == "parallel" else 1e-8
    agrees(name, way, 12, tolerance, **masks(12), reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
  ("name", "length"),
  [*((name, 127) for name in NAMES), ("gru", 2), ("rnn", 1000), ("lstm", 1000)],
)
def test_so_they_are_at_every_length(name, way, length):
  with jax.enable_x64(True):
    tolerance = 1e-10 if way == "parallel" else 1e-8
    options = masks(length) if length < 1000 else {}
    agrees(name, way, length, tolerance, **options)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_so_they_are_in_float32(name, way):
  agrees(name, way, 127, 1e-4, np.float32, **masks(127))


def radius(params, size):
  """Parameters whose recurrent matrix is a random one of this spectral radius."""
  w = noise(8, *params.w_h.shape, dtype=params.w_h.dtype)
  return params._replace(w_h=size * w / np.max(np.abs(np.linalg.eigvals(w))))


@pytest.mark.parametrize("size", quickly([3.0, 12.0, 100.0], 100.0))
def test_where_it_does_not_converge_the_loop_takes_over(size):
  base, valid = cells.vanilla(D, 16), masks(200)["valid"]
  params, _, xs = drawn(base, 200, np.float32)
  params = radius(params, size)  # chaotic
  carry = base.carry(params, B)
  cell = base._replace(newton=Newton(iterations=20))

  # As users compile it: a maximum may then lose a NaN.
  @functools.partial(
    jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 3}
  )
  def run(cell, params, carry, xs):
    return scan.unroll(cell, params, carry, xs, valid=valid, every=True)

  with scan.reports() as reports:
    found = run(cell, params, carry, xs)
  [report] = reports
  assert not report.converged and report.iterations == 20
  # Rounding grows as everything else does: the same loop in other code parts from it.
  expected = run(base, params, carry, xs)
  close(found[1][:5], expected[1][:5], 1e-4)
  before = jnp.concatenate([carry.h[None], found[0].h[:-1]])
  step = jnp.tanh(xs @ params.w_x + params.b.reshape(1, 1, -1) + before @ params.w_h)
  close(found[0].h, jnp.where(valid[..., None], step, before), 1e-4)


def test_where_products_of_jacobians_overflow_the_gradient_is_that_of_the_loop():
  base = cells.linear_rnn(D, 2)
  params, _, xs = drawn(base, 200, np.float32)
  w_h = np.diag(np.array([100, 0.5], np.float32))  # of which no input excites the first
  params = params._replace(
    w_x=params.w_x.at[:, 0].set(0), w_h=w_h, b=params.b.at[0].set(0)
  )

  def take(backward):
    def loss(params, xs):
      start = base.carry(params, B)
      _, ys = scan.unroll(base, params, start, xs, backward=backward)
      return jnp.sum(jnp.sin(ys[..., 1]))

    return quick(jax.grad(loss, (0, 1)))(params, xs)

  close(take("parallel"), take("fast"), 1e-5)


def test_a_linear_network_takes_one_iteration():
  cell = cells.linear_rnn(D, H)._replace(newton=Newton())
  params, carry, xs = drawn(cell, 50, np.float32)
  with scan.reports() as reports:
    quick(lambda *given: scan.unroll(cell, *given))(params, carry, xs)
  assert [report.iterations for report in reports] == [1]


@pytest.mark.slow
def test_a_step_is_traced_as_often_whatever_the_length():
  base, traced = cells.gru(D, H), []

  def step(*given):
    traced.append(None)
    return base.step(*given)

  def count(length):
    traced.clear()
    cell = base._replace(step=step, newton=Newton())
    jax.eval_shape(gradient(cell), *drawn(base, length, np.float32))
    return len(traced)

  assert count(5) == count(500) <= 8


def test_a_program_tells_how_it_went_only_if_asked_and_is_not_traced_again():
  base, traced = cells.vanilla(D, H), []

  def step(*given):
    traced.append(None)
    return base.step(*given)

  cell = base._replace(step=step, newton=Newton())
  given = drawn(base, 9, np.float32)
  run = quick(lambda *given: scan.unroll(cell, *given)[1])
  quiet = run(*given)
  count = len(traced)
  run(*given)
  assert len(traced) == count
  with scan.reports() as reports:
    told = run(*given)
  assert len(reports) == 1
  with scan.stepwise():
    assert scan.path(cell, *given).name == "derived"
    loop = run(*given)
  close(quiet, told, 0)
  close(quiet, loop, 1e-5)


@pytest.mark.slow
def test_a_second_derivative_is_that_of_the_loop():
  with jax.enable_x64(True):
    base = cells.gru(D, H)
    given = drawn(base, 9)

    def second(cell, backward):
      first = jax.grad(loss_of(cell, backward, **masks(9)), (0, 1, 2))

      def squares(*given):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(first(*given)))

      return quick(jax.grad(squares, (0, 1, 2)))(*given)

    exact = second(base, "autodiff")
    for way in WAYS:
      close(second(*asking(base, way)), exact, 1e-8)


def test_one_step_is_that_of_the_cell():
  for way in WAYS:
    cell, backward = asking(cells.CELLS["gru"](D, H), way)
    found = scan.path(cell, *drawn(cell, 1, np.float32), backward=backward)
    assert found.name == "derived" and "there are no two of them" in found.reason


def test_what_takes_no_part_says_why():
  lstm = cells.lstm(D, H)
  cases = {
    "a draw": regularizers.zoneout(lstm, 0.1),
    "forward mode": clipping.clipped_state(lstm, 1.0),
  }
  for reason, cell in cases.items():
    cell = cell._replace(newton=Newton())
    params, xs = parameters(cell), inputs()
    found = scan.path(cell, params, initial(cell, params), xs)
    assert found.name in ("recorded", "derived") and reason in found.reason
  linear = cells.min_gru(D, H)._replace(newton=Newton())
  given = drawn(linear, 9, np.float32)
  assert scan.path(linear, *given).name == "linear"
  assert scan.path(linear, *given, backward="parallel").name == "linear"


@pytest.mark.slow
def test_a_context_and_a_learned_carry_are_read():
  with jax.enable_x64(True):
    base = compose.learned_carry(cells.gru(D, H))
    inner = base.step
    base = base._replace(
      step=lambda params, carry, z, memory: inner(params, carry, z + jnp.sum(memory)),
      derivative=None,
      context=True,
    )
    options = {"context": jnp.array([0.1, 0.2]), **masks(20)}
    given = drawn(base, 20)
    exact = gradient(base, "autodiff", **options)(*given)
    for way in WAYS:
      close(gradient(*asking(base, way), **options)(*given), exact, 1e-8)


def test_an_evaluation_is_read_by_its_name():
  assert named_evaluation("sequential") is None
  assert named_evaluation("newton") == Newton()
  assert named_evaluation("quasi_newton:0.5") == Newton("diagonal", 0.5)
  for spec in ("deer", "newton:2", "newton:nan", "sequential:1", "newton:0.1,2"):
    with pytest.raises(BadInput, match=f"evaluate={spec}"):
      named_evaluation(spec)
