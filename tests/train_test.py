"""The training step: what one update is, and what it leaves alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, H, close, noise, parameters, quick, quickly, same, shaken

from unroll import compose, scan, train
from unroll.cells import gru, vanilla
from unroll.checkpoint import Checkpoints, restore
from unroll.compose import Wiring
from unroll.data.batches import Lanes
from unroll.data.prefetch import dispatches
from unroll.gradients import full, named_scheme, random
from unroll.gradients.scheme import Estimator, Scheme
from unroll.layers import stacked
from unroll.models.language import LanguageModel, next_token_loss
from unroll.optim import optimizer
from unroll.schedules import schedule
from unroll.types import Sums

T, RATE = 4, 0.1
KEY = jax.random.key(7)
CONTROL = train.Control(np.float32(100), np.float32(1))
CELL = vanilla(D, H)
DROPPING = compose.deep(CELL, wiring=Wiring(output_dropout=0.5))


class Batch(NamedTuple):
  """`inputs [T, B, D]`, `targets [T, B, H]`, `valid` and `weight [T, B]`."""

  inputs: np.ndarray
  targets: np.ndarray
  valid: np.ndarray
  blow: np.ndarray  # [T], what `blown` multiplies the loss and the gradient by


def batch_of(number, length=T):
  return Batch(
    noise(number, length, B, D),
    noise(100 + number, length, B, H),
    np.ones((length, B), bool),
    np.ones(length, np.float32),
  )


def stack(batches):
  return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


def squares(cell):
  """A chunk loss: the mean squared distance to the targets."""

  def loss(params, carry, batch):
    carry, ys = scan.unroll(cell, params, carry, batch.inputs, valid=batch.valid)
    count = jnp.float32(batch.targets.size)
    sums = Sums(jnp.sum((ys - batch.targets) ** 2), count)
    return sums.mean(), (carry, {"loss": sums})

  return loss


def blown() -> Scheme:
  """Full backpropagation, of losses and gradients that a batch can blow up."""

  def estimator(loss):
    init, estimate = full().estimator(loss)

    def blow(params, carry, memory, batch, key):
      found = estimate(params, carry, memory, batch, key)
      return found._replace(
        value=found.value * batch.blow[0],
        grads=jax.tree.map(lambda g: g * batch.blow[1], found.grads),
      )

    return Estimator(init, blow)

  return Scheme(estimator)


def step_of(
  cell=CELL, scheme=None, how="sgd", rate=RATE, key=KEY, loss=None, **options
):
  loss = loss or squares(cell)
  opt = optimizer(how, **options)
  return opt, train.make_step(
    loss, scheme or full(), opt, schedule("constant", rate), key
  )


PARAMS = {cell: parameters(cell) for cell in (CELL, DROPPING)}


def start(opt, cell=CELL, **counters):
  params = PARAMS[cell]
  state = train.initial_state(params, opt, cell.carry(params, B))
  return state._replace(**{name: jnp.int32(n) for name, n in counters.items()})


def run(step, state, batches, control=CONTROL):
  """Step by step; the state and the metrics of each."""
  step, all_metrics = quick(step), []
  for batch in batches:
    state, metrics = step(state, batch, control)
    all_metrics.append(metrics)
  return state, stack(all_metrics)


@pytest.mark.parametrize("how", ["sgd", "adam"])
def test_a_step_is_gradient_and_update(how):
  opt, step = step_of(how=how, clip_norm=0.1)
  state, batch = start(opt), batch_of(1)
  take = jax.value_and_grad(squares(CELL), has_aux=True)
  (value, (carry, sums)), grads = quick(take)(state.params, state.carry, batch)
  params, opt_state = quick(opt.update)(grads, state.opt_state, state.params, RATE)
  new, metrics = quick(step)(state, batch, CONTROL)
  close(new.params, params, 1e-5)
  close(new.opt_state, opt_state, 1e-5)
  close(new.carry, carry, 1e-5)
  assert new.step == 1 and new.nonfinite == new.skipped == 0
  squared = sum(np.sum(np.square(g, dtype=np.float64)) for g in jax.tree.leaves(grads))
  assert squared**0.5 > 0.1  # the norm reported is that before clipping
  np.testing.assert_allclose(metrics.grad_norm, squared**0.5, rtol=1e-5)
  np.testing.assert_allclose(metrics.sums["loss"].mean(), value, rtol=1e-5)
  assert metrics.sums["loss"].count == sums[
    "loss"
  ].count and metrics.learning_rate == np.float32(RATE)


def test_the_rate_is_the_schedules():
  opt = optimizer("sgd", clip_norm=0)
  rate = schedule("linear", RATE)
  step = train.make_step(squares(CELL), full(), opt, rate, KEY)
  state = start(opt, step=30)
  control = train.Control(np.float32(40), np.float32(0.5))
  _, metrics = quick(step)(state, batch_of(1), control)
  np.testing.assert_allclose(metrics.learning_rate, RATE * 0.25 * 0.5, rtol=1e-6)


def test_one_program_for_all_counts():
  traces = 0

  def loss(params, carry, batch):
    nonlocal traces
    traces += 1
    return squares(CELL)(params, carry, batch)

  opt, step = step_of(loss=loss)
  dispatch = train.make_dispatch(lambda _: step)
  batches = stack([batch_of(i) for i in range(4)])
  state, _ = dispatch(None, start(opt), batches, np.int32(4), CONTROL)
  first = traces
  for count, horizon in ((1, 10), (3, np.inf), (4, 7)):
    control = train.Control(np.float32(horizon), np.float32(0.5))
    state, _ = dispatch(None, state, batches, np.int32(count), control)
  assert traces == first > 0 and state.step == 12


def test_dispatches_are_steps_bit_for_bit():
  opt, step = step_of(DROPPING, how="adam", ema=0.9)
  dispatch = train.make_dispatch(lambda _: step)

  def dispatched(sizes, width):
    """The state after dispatches of those sizes, padded to `width`, and all metrics."""
    state, batches, found = start(opt, DROPPING), [batch_of(i) for i in range(10)], []
    for size in sizes:
      now, batches = batches[:size], batches[size:]
      padded = stack(now + now[-1:] * (width - size))
      state, metrics = dispatch(None, state, padded, np.int32(size), CONTROL)
      found.append(jax.tree.map(lambda m, n=size: np.asarray(m)[:n], metrics))
    return state, jax.tree.map(lambda *parts: np.concatenate(parts), *found)

  ten = dispatched([10], 10)
  assert ten[0].step == 10 and len(set(ten[1].grad_norm.tolist())) == 10
  same(dispatched([3, 7], 10), ten)
  same(dispatched([1] * 10, 1), ten)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 1], ids=["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(where, value):
  good, spoilt = [batch_of(1), batch_of(2)], batch_of(3)
  spoilt.blow[where] = value
  opt, step = step_of(scheme=blown(), how="adam", ema=0.9)
  expected, _ = run(step, start(opt), good)
  sequence = [good[0], spoilt, spoilt, good[1], spoilt]
  state, metrics = run(step, start(opt), sequence)
  same(state[1:4], expected[1:4])  # parameters, optimiser, carry
  np.testing.assert_array_equal(metrics.nonfinite, [0, 1, 2, 0, 1])
  np.testing.assert_array_equal(metrics.skipped, [0, 1, 2, 2, 3])
  assert (state.step, state.nonfinite, state.skipped) == (5, 1, 3)
  np.testing.assert_array_equal(
    np.isfinite(metrics.grad_norm), [True, not where, not where, True, not where]
  )


@pytest.mark.parametrize("spec", quickly(["full", "tbptt:4", "tbptt:2"], "tbptt:2"))
def test_the_state_passes_and_the_gradient_does_not(spec):
  scheme, reach = named_scheme(spec), 2 if spec == "tbptt:2" else T
  opt, step = step_of(scheme=scheme, rate=1.0, clip_norm=0)
  chunks = [batch_of(1), batch_of(2)]
  first, _ = run(step, start(opt), chunks[:1])
  second, _ = run(step, first, chunks[1:])

  def loss(params, carry, parts):
    """Of the second chunk, every `reach` steps of it cut off from those before."""
    total = 0.0
    for part in parts:
      carry = jax.lax.stop_gradient(carry)
      mean, (carry, _) = squares(CELL)(params, carry, part)
      total += mean / len(parts)
    return total, carry

  def parts(batch):
    cuts = range(0, T, reach)
    return [jax.tree.map(lambda leaf, t=t: leaf[t : t + reach], batch) for t in cuts]

  def uncut(params, carry):
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *chunks)
    carry, _ = scan.unroll(CELL, params, carry, whole.inputs[:T])
    return squares(CELL)(params, carry, chunks[1])[0]

  grads, carry = quick(jax.grad(loss, has_aux=True))(
    first.params, first.carry, parts(chunks[1])
  )
  moved = jax.tree.map(jnp.subtract, first.params, second.params)
  close(moved, grads, 1e-4)
  close(second.carry, carry, 1e-5)
  # Blame that passed the cut would show.
  through = quick(jax.grad(uncut))(first.params, start(opt).carry)
  assert np.max(np.abs(through.w_h - moved.w_h)) > 1e-2 * np.max(np.abs(moved.w_h))


def test_randomness_is_a_function_of_key_and_step():
  def losses(key, first, count):
    """Losses of the same batch at the same parameters and carry, step after step."""
    opt, step = step_of(DROPPING, rate=0.0, key=key)
    state = start(opt, DROPPING, step=first)
    step, found = quick(step), []
    for _ in range(count):
      after, metrics = step(state, batch_of(1), CONTROL)
      state = after._replace(carry=state.carry)
      found.append(float(metrics.sums["loss"].total))
    return found

  seven = losses(KEY, 0, 7)
  assert len(set(seven)) == 7
  assert losses(KEY, 4, 3) == seven[4:]
  assert not set(losses(jax.random.key(8), 0, 7)) & set(seven)


def test_the_carry_between_steps_holds_no_key():
  opt, step = step_of(DROPPING)
  state = start(opt, DROPPING)
  after, _ = run(step, state, [batch_of(1)])
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert after.carry.draw.key is None and after.carry.draw.t == 0


def test_random_lengths_scale_the_rate():
  k, present = 8, 6
  batch = batch_of(1, random(k).chunks.length)
  batch.valid[present:] = False
  moved = {}
  for name, scheme in {"random": random(k), "full": full()}.items():
    opt, step = step_of(scheme=scheme, clip_norm=0)
    state = start(opt)
    after, metrics = run(step, state, [batch])
    moved[name] = jax.tree.map(jnp.subtract, after.params, state.params)
    rate = RATE * present / k if name == "random" else RATE
    np.testing.assert_allclose(metrics.learning_rate, [rate], rtol=1e-6)
  close(moved["random"], jax.tree.map(lambda m: m * present / k, moved["full"]), 1e-4)


@pytest.mark.slow
def test_evaluation_does_not_depend_on_the_cuts():
  vocabulary, count, rows = 5, 80, 3
  tokens = np.random.default_rng(2).integers(vocabulary, size=count)
  model = LanguageModel(vocabulary, 0, stacked(gru(vocabulary, H)), H)
  params = shaken(model.init(jax.random.key(1), np.zeros((1, 1), np.int32)), 1, 0.5)
  carry = model.apply(params, rows, method="initial_carry")
  # The loss of each lane read in one go, and what lanes make of it in unequal parts.
  whole = next(iter(Lanes(tokens, rows, count)))
  _, (_, expected) = quick(next_token_loss(model))(params, carry, whole)
  assert expected["loss"].count == count - 1
  evaluate = train.make_evaluate(next_token_loss(model))
  for length in (7, 11, 1):
    source = Lanes(tokens, rows, length)
    for size in {1, 2, len(source)}:
      cut = dispatches(source, 0, len(source), size, first=size)
      counted = ((np.int32(count), batches) for count, batches in cut)
      close(train.evaluated(evaluate, params, carry, counted), expected, 1e-5)


def test_the_average_is_what_is_evaluated():
  opt, step = step_of(ema=0.5, rate=0.5)
  state, _ = run(step, start(opt), [batch_of(1), batch_of(2)])
  average = opt.averaged(state.opt_state, state.params)
  states, newest = start(opt), []
  for number in (1, 2):
    states, _ = run(step, states, [batch_of(number)])
    newest.append(states.params)
  # Debiased: the weights of two updates are 0.5 * 0.5 and 0.5, made to add up to 1.
  close(average, jax.tree.map(lambda a, b: (a + 2 * b) / 3, *newest), 1e-5)
  evaluate, carry = train.make_evaluate(squares(CELL)), start(opt).carry
  used, newest = (
    evaluate(params, carry, stack([batch_of(4)]), np.int32(1))[1]["loss"].total
    for params in (average, state.params)
  )
  assert used != newest
  (_, expected) = squares(CELL)(average, carry, batch_of(4))[1]
  np.testing.assert_allclose(used, expected["loss"].total, rtol=1e-5)


def test_every_leaf_is_a_buffer_of_its_own():
  opt = optimizer("adam", ema=0.9)
  leaves = jax.tree.leaves(start(opt))
  pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
  assert len(set(pointers)) == len(pointers)


def noisy() -> Scheme:
  """A running mean of gradients, its memory, with noise drawn from the key."""

  def estimator(loss):
    estimate = full().estimator(loss).estimate

    def smooth(params, carry, memory, batch, key):
      found = estimate(params, carry, (), batch, key)
      draws, mean = memory
      mean = jax.tree.map(lambda m, g: 0.5 * m + 0.5 * g, mean, found.grads)
      noise = jax.random.normal(key, ())
      grads = jax.tree.map(lambda m: m * (1 + 0.1 * noise) * batch.blow[1], mean)
      memory = (jnp.roll(draws, 1).at[0].set(noise), mean)
      return found._replace(memory=memory, grads=grads)

    def init(params, carry, batch):
      del carry, batch
      return jnp.zeros(4), jax.tree.map(jnp.zeros_like, params)

    return Estimator(init, smooth)

  return Scheme(estimator)


def remembering(opt):
  """The state before the first step of `noisy`, of a cell that draws too."""
  params, carry = PARAMS[DROPPING], DROPPING.carry(PARAMS[DROPPING], B)
  memory = noisy().estimator(squares(DROPPING)).init(params, carry, None)
  return train.initial_state(params, opt, carry, memory)


def test_a_run_with_a_memory_goes_on_from_a_checkpoint(tmp_path):
  opt, step = step_of(DROPPING, scheme=noisy(), how="adam", ema=0.9)
  batches = [batch_of(number) for number in range(4)]
  whole, told = run(step, remembering(opt), batches)
  half, _ = run(step, remembering(opt), batches[:2])
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(2, half, {})
  restored = restore(tmp_path, remembering(opt))
  rest, told_later = run(step, restored.state, batches[2:])
  same(rest, whole)
  same(told_later, jax.tree.map(lambda leaf: leaf[2:], told))
  draws, mean = whole.memory
  assert len(set(draws.tolist())) == 4 and np.all(draws != 0)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(mean))


def test_a_checkpoint_from_before_memories_is_restored(tmp_path):
  fields = [name for name in train.TrainState._fields if name != "memory"]
  old_state = NamedTuple("old_state", [(name, object) for name in fields])
  opt, step = step_of(DROPPING, how="adam", ema=0.9)
  now, _ = run(step, start(opt, DROPPING), [batch_of(1)])
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, old_state(*now[: len(fields)]), {})
  restored = restore(tmp_path, start(opt, DROPPING)).state
  assert isinstance(restored, train.TrainState) and restored.memory == ()
  same(restored, now)


def test_a_step_that_is_not_finite_keeps_the_memory():
  opt, step = step_of(DROPPING, scheme=noisy())
  good, spoilt = batch_of(1), batch_of(2)
  spoilt.blow[1] = np.nan
  before, _ = run(step, remembering(opt), [good])
  after, _ = run(step, before, [spoilt])
  same(after.memory, before.memory)
  assert after.step == 2 and after.skipped == 1


def test_what_an_estimator_draws_is_its_own():
  """It changes no draw of the carry, and is none of them."""
  drawn = []

  def estimator(loss):
    init, estimate = full().estimator(loss)

    def spy(params, carry, memory, batch, key):
      drawn.append((carry.draw.key, key))
      return estimate(params, carry, memory, batch, key)

    return Estimator(init, spy)

  states = []
  for scheme in (full(), Scheme(estimator)):
    opt, step = step_of(DROPPING, scheme=scheme)
    states.append(step(start(opt, DROPPING, step=3), batch_of(1), CONTROL)[0])
  same(*states)
  [(carried, own)] = drawn
  of_step = jax.random.fold_in(KEY, 3)
  of_places = [jax.random.fold_in(of_step, place) for place in range(99)]
  assert carried in of_places and own not in [of_step, *of_places]


def test_evaluation_adds_up_in_turn_bit_for_bit():
  carry, batches = start(optimizer("sgd")).carry, [batch_of(i) for i in range(7)]
  loss = squares(CELL)

  def body(state, batch):
    carry, total = state
    _, (carry, sums) = loss(PARAMS[CELL], carry, batch)
    return (carry, total + sums["loss"]), None

  scan_all = jax.jit(lambda carry, all: jax.lax.scan(body, (carry, Sums.zero()), all))
  (expected, total), _ = scan_all(carry, stack(batches))
  after, sums = train.make_evaluate(loss)(
    PARAMS[CELL], carry, stack([*batches, batches[0]]), np.int32(7)
  )
  same((after, sums), (expected, {"loss": total}))


def test_evaluation_compiles_once_for_each_shape():
  traces = 0

  def loss(params, carry, batch):
    nonlocal traces
    traces += 1
    return squares(CELL)(params, carry, batch)

  evaluate, carry = train.make_evaluate(loss), start(optimizer("sgd")).carry
  found = []
  for length in (T, T, T + 2, T):
    for count in (1, 2, 3):
      batches = stack([batch_of(i, length) for i in range(3)])
      evaluate(PARAMS[CELL], carry, batches, np.int32(count))
    found.append(traces)
  once = found[0]
  assert found == [once, once, 2 * once, 2 * once]


def test_long_evaluations_lose_no_digits():
  """A dispatch adds one to a total that float32 could not add one to."""
  parts = [(2.0**24, 2.0**24), (1, 1), (1, 1), (1, 1), (1, 1)]

  def evaluate(params, carry, batches, count):
    total, weight = batches
    sums = {"loss": Sums(np.float32(total), np.full(2, weight, np.float32))}
    return carry + 1, sums

  found = train.evaluated(evaluate, None, 0, ((1, part) for part in parts))["loss"]
  assert found.total == 2**24 + 4 and found.total.dtype == np.float32
  np.testing.assert_array_equal(found.count, [2**24 + 4] * 2, strict=False)
