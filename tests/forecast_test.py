"""Laws of forecasts: no time to come reaches them, and their errors are as defined."""

import jax
import numpy as np
import pytest

from tests.series_test import made
from unroll import baselines, forecasting
from unroll.cells import CELLS
from unroll.compose import deep
from unroll.data.series import named
from unroll.data.series.horizons import Horizon, Horizons
from unroll.data.series.parts import split
from unroll.layers import bidirectional
from unroll.models.forecast import RecurrentForecaster, WindowForecaster
from unroll.models.forecast_loss import LOSSES, forecast_loss
from unroll.types import BadInput, Sums

PAST, HORIZON, BATCH, C, F = 5, 4, 3, 2, 2
QUANTILES = (0.1, 0.5, 0.8, 0.9)

# How a model looks at a window, and how many inputs and known columns it is given.
MODELS = {
  "linear": lambda o, d: WindowForecaster(past=PAST, **o),
  "shorter window": lambda o, d: WindowForecaster(past=PAST - 2, **o),
  "perceptron": lambda o, d: WindowForecaster(past=PAST, hidden=(16, 12), **o),
  "gru": lambda o, d: RecurrentForecaster(core=CELLS["gru"](d, 6), width=6, **o),
  "deep lstm": lambda o, d: RecurrentForecaster(
    core=deep(CELLS["lstm"](d, 6), CELLS["lstm"](6, 5)), width=5, **o
  ),
  "bidirectional": lambda o, d: RecurrentForecaster(
    core=bidirectional(CELLS["gru"](d, 6), CELLS["gru"](d, 6)), width=12, **o
  ),
}
HEADS = {
  "direct": {},
  "direct, last": {"normalise": "last"},
  "direct, quantiles": {"quantiles": QUANTILES, "normalise": "instance"},
  "direct, shared": {"shared": True, "normalise": "last"},
  "fed back": {"feedback": True},
  "fed back, instance": {"feedback": True, "normalise": "instance"},
  "fed back, quantiles": {"feedback": True, "quantiles": QUANTILES, "shared": True},
}
PAIRS = [
  (model, head)
  for model in MODELS
  for head in HEADS
  if model != "bidirectional" or not HEADS[head].get("feedback")
]


def window(seed=0, inputs=0, forced=False):
  random = np.random.default_rng(seed)

  def draw(*shape):
    return random.normal(size=shape).astype(np.float32)

  future = draw(HORIZON, BATCH, C)
  return Horizon(
    draw(PAST, BATCH, C + inputs),
    draw(PAST + HORIZON, BATCH, F),
    future,
    np.ones_like(future),
    np.full_like(future, forced),
  )


def model_of(model, head, inputs=0):
  options = {"targets": C, "horizon": HORIZON, **HEADS[head]}
  width = (1 if options.get("shared") else C) + inputs + F
  return MODELS[model](options, width)


def started(model, batch):
  """Random parameters, biases among them; nothing is compiled for them."""
  shapes, random = jax.eval_shape(model.init, jax.random.key(1), batch), iter(range(99))
  return jax.tree.map(
    lambda x: np.float32(
      0.4 * np.random.default_rng(next(random)).normal(size=x.shape)
    ),
    shapes,
  )


def slopes_of(model, params, batch):
  """The forecast, and its Jacobian [K, B, C, Q, …] by each part of a window."""

  def forecast(batch):
    return (model.apply(params, batch),) * 2

  slopes, out = jax.jit(jax.jacrev(forecast, has_aux=True))(batch)
  return np.asarray(out), jax.tree.map(np.abs, jax.device_get(slopes))


@pytest.mark.parametrize(("model", "head"), PAIRS[::2])
@pytest.mark.slow
def test_no_value_to_come_reaches_a_forecast(model, head):
  """All rows of the past do, and what is known up to a step, of its own window."""
  name, batch, model = model, window(), model_of(model, head)
  params = started(model, batch)
  out, slopes = slopes_of(model, params, batch)
  levels = HEADS[head].get("quantiles", (0.5,))
  assert out.shape == (HORIZON, BATCH, C, len(levels))
  assert (np.diff(out, axis=-1) >= 0).all()
  for part in (slopes.future, slopes.weight, slopes.forced):
    assert not part.any()
  changed = batch._replace(future=batch.future + 1e3, weight=0 * batch.weight)
  apply = jax.jit(model.apply)
  np.testing.assert_array_equal(apply(params, changed), apply(params, batch))
  by_row = slopes.past.sum(axis=(0, 2, 3, 6))  # [window, row, its window]
  for own in range(BATCH):
    read = by_row[own, :, own] > 0
    assert read.all() or (name == "shorter window" and read[2:].all())
    assert not np.delete(by_row[own], own, axis=1).any()
  known = slopes.known.sum(axis=(1, 2, 3, 5, 6))  # [step, row that is known]
  for step in range(HORIZON):
    assert known[step, PAST + step]
    assert not known[step, PAST + step + 1 :].any()


@pytest.mark.parametrize(
  ("model", "head"), [pair for pair in PAIRS if HEADS[pair[1]].get("feedback")]
)
@pytest.mark.slow
def test_a_forced_step_reads_true_values_of_earlier_steps_alone(model, head):
  batch, model = window(forced=True), model_of(model, head)
  params = started(model, batch)

  @jax.jit
  def forecast(future):
    return model.apply(params, batch._replace(future=future))[..., 0]

  # [step, window, column, step of the truth, its window, its column]
  slopes = np.asarray(jax.jit(jax.jacrev(forecast))(batch.future))
  for step in range(HORIZON):
    assert not slopes[step][..., step:, :, :].any()
    assert not step or slopes[step][..., step - 1, :, :].any()
  out = forecast(batch.future)
  for step in range(HORIZON):
    changed = batch.future.copy()
    changed[step:] += 10
    np.testing.assert_array_equal(forecast(changed)[: step + 1], out[: step + 1])


@pytest.mark.parametrize("head", [h for h in HEADS if not HEADS[h].get("feedback")])
def test_inputs_reach_a_direct_forecast(head):
  batch, model = window(inputs=2), model_of("gru", head, inputs=2)
  _, slopes = slopes_of(model, started(model, batch), batch)
  assert (slopes.past.sum(axis=(0, 1, 2, 3, 4, 5)) > 0).all()


@pytest.mark.parametrize("head", ["fed back", "fed back, quantiles"])
@pytest.mark.parametrize("model", ["linear", "gru"])
def test_feedback_forecasts_one_step_with_its_own_forecast_as_the_last_value(
  model, head
):
  batch, one = window(), model_of(model, head)
  params = started(one, batch)
  whole = np.asarray(one.apply(params, batch))[..., one.middle]
  past = batch.past
  for step in range(HORIZON):
    longer = batch._replace(past=past, known=batch.known[: PAST + HORIZON])
    if model == "linear":  # which reads the last rows only
      rest = batch.known[step:]
      pad = np.zeros((step, BATCH, F), np.float32)
      longer = Horizon(past[-PAST:], np.concatenate([rest, pad]), *batch[2:])
    else:
      extra = np.zeros((step, BATCH, F), np.float32)
      longer = Horizon(past, np.concatenate([batch.known, extra]), *batch[2:])
    first = np.asarray(jax.jit(one.apply)(params, longer))[0, ..., one.middle]
    np.testing.assert_allclose(first, whole[step], rtol=2e-4, atol=1e-5)
    past = np.concatenate([past, first[None]])


@pytest.mark.parametrize("model", ["perceptron", "gru"])
@pytest.mark.parametrize("normalise", ["last", "instance"])
def test_a_level_is_taken_out_and_put_back(model, normalise):
  options = {"targets": C, "horizon": HORIZON, "normalise": normalise}
  batch, model = window(), MODELS[model](options, C + F)
  params = started(model, batch)
  level = np.float32([3, -7])
  moved = batch._replace(past=batch.past + level)
  there, here = (np.asarray(jax.jit(model.apply)(params, b)) for b in (moved, batch))
  np.testing.assert_allclose(there, here + level[:, None], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", ["linear", "gru"])
def test_targets_that_share_parameters_are_forecast_by_themselves(model):
  batch, model = window(), model_of(model, "direct, shared")
  params = started(model, batch)
  apply = jax.jit(model.apply)
  out = np.asarray(apply(params, batch))
  swapped = np.asarray(apply(params, batch._replace(past=batch.past[..., ::-1])))
  np.testing.assert_allclose(out, swapped[:, :, ::-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("quantiles", [(0.1, 0.9), (0.5, 0.1), (0, 0.5), (0.5, 1.0)])
def test_faulty_quantiles_are_refused(quantiles):
  model = WindowForecaster(targets=C, horizon=HORIZON, past=PAST, quantiles=quantiles)
  with pytest.raises(BadInput, match="quantiles="):
    model.init(jax.random.key(0), window())


def test_what_a_model_cannot_do_is_refused():
  options = {"targets": C, "horizon": HORIZON, "past": PAST}
  for wrong, said in (
    ({"normalise": "mean"}, "normalise="),
    ({"feedback": True}, "2 in"),
  ):
    model = WindowForecaster(**options, **wrong)
    with pytest.raises(BadInput, match=said):
      model.init(jax.random.key(0), window(inputs=2))
  for quantiles, loss in ((QUANTILES, "mse"), ((), "quantile"), ((), "huber")):
    with pytest.raises(BadInput, match="loss="):
      forecast_loss(WindowForecaster(quantiles=quantiles, **options), loss)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("head", ["direct", "fed back"])
def test_the_loss_is_the_mean_of_what_counts(loss, head):
  quantiles = QUANTILES if loss == "quantile" else ()
  options = {"targets": C, "horizon": HORIZON, **HEADS[head], "quantiles": quantiles}
  batch, model = window(), MODELS["gru"](options, C + F)
  weight = np.random.default_rng(7).integers(0, 2, batch.weight.shape).astype("float32")
  future = np.where(weight > 0, batch.future, np.nan)
  params = started(model, batch)
  found = np.asarray(model.apply(params, batch), np.float64)
  error = batch.future[..., None] - found
  each = {
    "mse": error**2,
    "mae": abs(error),
    "quantile": np.maximum(*[error * (np.array(quantiles or 0) - s) for s in (0, 1)]),
  }[loss].mean(axis=-1)
  expected = each[weight > 0].mean()
  batch = batch._replace(future=future, weight=weight)
  chunk_loss = jax.value_and_grad(forecast_loss(model, loss), has_aux=True)
  carry = model.apply(params, BATCH, method="initial_carry")
  (value, (after, sums)), grads = jax.jit(chunk_loss)(params, carry, batch)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(sums["loss"].mean(), expected, rtol=1e-5)
  assert jax.tree.structure(after) == jax.tree.structure(carry)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def drawn(seed, quantiles=()):
  random = np.random.default_rng(seed)
  forecast = np.sort(random.normal(size=(3, 5, 2, len(quantiles) or 1)), axis=-1)
  truth = random.normal(size=(3, 5, 2))
  weight = random.integers(0, 2, truth.shape).astype(float)
  return forecast.astype("float32"), truth.astype("float32"), weight.astype("float32")


def test_errors_by_step_and_by_column_are_those_of_a_loop():
  """Of weight 0 is not counted; the classes of sktime 1.2.0 divide by all steps:
  `findings/sktime_weights_are_not_averaged.sh`."""
  levels = (0.1, 0.25, 0.5, 0.75, 0.9)
  forecast, truth, weight = drawn(0, levels)
  sums = forecasting.errors(forecast, truth, weight, levels)
  squared, absolute = ([[[] for _ in range(2)] for _ in range(3)] for _ in range(2))
  losses, within = [[] for _ in levels], [[], []]
  for k, b, c in np.ndindex(truth.shape):
    if weight[k, b, c]:
      y, row = float(truth[k, b, c]), forecast[k, b, c].astype(float)
      squared[k][c].append((row[2] - y) ** 2)
      absolute[k][c].append(abs(row[2] - y))
      for own, level, x in zip(losses, levels, row):
        own.append(level * (y - x) if y > x else (1 - level) * (x - y))
      within[0].append(row[0] <= y <= row[4])
      within[1].append(row[1] <= y <= row[3])
  for name, lists in (("squared", squared), ("absolute", absolute)):
    every = [x for row in lists for cell in row for x in cell]
    steps = [np.mean(row[0] + row[1]) for row in lists]
    columns = [np.mean(lists[0][c] + lists[1][c] + lists[2][c]) for c in range(2)]
    own = sums[name]
    np.testing.assert_allclose(forecasting.mean_error(own), np.mean(every), rtol=1e-5)
    np.testing.assert_allclose(forecasting.error_by_step(own), steps, rtol=1e-5)
    np.testing.assert_allclose(forecasting.error_by_column(own), columns, rtol=1e-5)
  np.testing.assert_allclose(
    sums["pinball"].mean(), [np.mean(own) for own in losses], rtol=1e-5
  )
  np.testing.assert_allclose(
    sums["covered"].mean(), [np.mean(own) for own in within], rtol=1e-5
  )


@pytest.mark.slow
def test_sums_of_parts_add_up_to_those_of_the_whole():
  forecast, truth, weight = drawn(1, QUANTILES)
  whole = forecasting.errors(forecast, truth, weight, QUANTILES)
  parts = [
    forecasting.errors(forecast[:, s], truth[:, s], weight[:, s], QUANTILES)
    for s in (slice(0, 2), slice(2, 5))
  ]
  for name, sums in whole.items():
    both = parts[0][name] + parts[1][name]
    np.testing.assert_allclose(both.total, sums.total, rtol=1e-5)
    np.testing.assert_array_equal(both.count, sums.count)


def test_what_does_not_count_may_be_anything():
  forecast, truth, weight = drawn(2)
  marked = np.where(weight > 0, truth, np.nan).astype("float32")
  other = np.where(weight[..., None] > 0, forecast, np.nan)
  for a, b in zip(
    jax.tree.leaves(forecasting.errors(forecast, truth, weight)),
    jax.tree.leaves(forecasting.errors(other, marked, weight)),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("quantiles", "pairs"), [
  ((), []),
  ((0.5,), []),
  ((0.1, 0.5, 0.9), [(0, 2)]),
  ((0.05, 0.1, 0.5, 0.9, 0.95), [(0, 4), (1, 3)]),
  ((0.1, 0.5, 0.8), []),
  ((0.1, 0.5, 0.8, 0.9), [(0, 3)]),
])  # fmt: skip
def test_an_interval_leaves_as_much_below_as_above(quantiles, pairs):
  assert forecasting.intervals(quantiles) == pairs


@pytest.mark.parametrize("error", [
  forecasting.absolute_error,
  lambda forecast, truth: forecasting.pinball(forecast, truth, 0.5),
])  # fmt: skip
def test_the_gradient_of_an_absolute_error_is_0_at_0(error):
  slope = jax.grad(error)
  assert slope(2.0, 2.0) == 0
  assert slope(3.0, 2.0) == -slope(1.0, 2.0) > 0


@pytest.mark.parametrize("level", [0.05, 0.5, 0.8])
def test_the_pinball_loss_is_least_at_the_quantile(level):
  truth = np.random.default_rng(3).exponential(size=4001)
  tries = np.linspace(0, 4, 801)
  losses = [float(np.mean(forecasting.pinball(x, truth, level))) for x in tries]
  assert abs(tries[np.argmin(losses)] - np.quantile(truth, level)) < 0.02


def test_mase_divides_by_the_naive_error_of_the_training_part():
  train = np.array([[1.0, 0], [3, 10], [np.nan, 0], [7, 10], [8, 0], [4, 30]])
  # |y_t - y_{t-2}|: of column 0 (3, 7), (8, 4 is 7 -> 4); of column 1 all four.
  scale = forecasting.seasonal_scale(train, 2)
  np.testing.assert_allclose(scale, [np.mean([4, 3]), np.mean([0, 0, 0, 20])])
  sums = {"absolute": Sums(np.array([[1.0, 2], [5, 6]]), np.full((2, 2), 2.0))}
  expected = np.mean([6 / 4 / scale[0], 8 / 4 / scale[1]])
  np.testing.assert_allclose(forecasting.mase(sums, scale), expected)
  assert np.isnan(forecasting.mase(sums, np.array([0.0, 1.0])))
  for lag in (0, 6):
    with pytest.raises(BadInput, match=f"lag={lag}"):
      forecasting.seasonal_scale(train, lag)


RULES = {
  "naive": (baselines.naive(), lambda y, t, k: y[t - 1]),
  "seasonal": (baselines.seasonal(3), lambda y, t, k: y[t - 3 + k % 3]),
  "drift": (
    baselines.drift(4),
    lambda y, t, k: y[t - 1] + (k + 1) * (y[t - 1] - y[t - 4]) / 3,
  ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_baseline_is_its_rule(name):
  rule, value = RULES[name]
  values = np.random.default_rng(5).normal(size=(30, 2))
  source = Horizons(made(values), range(10, 30), 4, 2, 5, shuffle=False)
  sums = baselines.errors(rule, source)
  expected = np.zeros((5, 2))
  for t in range(10, 26):
    for k in range(5):
      expected[k] += (value(values, t, k) - values[t + k]) ** 2
  np.testing.assert_allclose(sums["squared"].total, expected, rtol=1e-5)
  assert (np.asarray(sums["squared"].count) == 16).all()


def test_a_baseline_that_needs_a_longer_past_is_refused():
  source = Horizons(made(np.arange(30.0)), range(30), 4, 2, 5)
  with pytest.raises(BadInput, match="seasonal naive, lag 7: needs 7 rows"):
    baselines.errors(baselines.seasonal(7), source)
  for wrong in (lambda: baselines.seasonal(0), lambda: baselines.drift(1)):
    with pytest.raises(BadInput):
      wrong()


def test_the_linear_baseline_is_the_least_squares_on_the_training_windows():
  random = np.random.default_rng(6)
  values = np.cumsum(random.normal(size=(80, 2)), axis=0)
  values[20, 1] = np.nan
  series = made(values, gaps="forward")
  source = Horizons(series, range(60), 7, 4, 3, seed=1)
  rule = baselines.linear(source, ridge=1e-9)
  past = random.normal(size=(4, 5, 2))
  found = rule.forecast(past, 3)
  forward = values.copy()
  forward[20, 1] = forward[19, 1]
  for c in range(2):
    starts = [t for t in range(4, 58) if c == 0 or not t <= 20 < t + 3]
    x = np.array([[*forward[t - 4 : t, c], 1] for t in starts])
    y = np.array([values[t : t + 3, c] for t in starts])
    # The last value has weight 1, less the sum of the others.
    moved = np.column_stack([x[:, :3] - x[:, 3:4], x[:, 4]])
    w = np.linalg.lstsq(moved, y - x[:, 3:4], rcond=None)[0]
    rows = np.column_stack([(past[:3, :, c] - past[3, :, c]).T, np.ones(5)])
    np.testing.assert_allclose(found[:, :, c], (rows @ w).T + past[3, :, c], rtol=1e-3)


def test_a_linear_baseline_without_windows_is_refused():
  values = np.where(np.arange(20) % 2, np.nan, 1.0)
  source = Horizons(made(values, gaps="forward"), range(20), 4, 3, 2)
  with pytest.raises(BadInput, match="no window of column a"):
    baselines.linear(source)


def test_a_linear_recurrence_is_learned_to_the_noise():
  series = named.sine(600, seed=1)
  part = split(series, "0.6,0.2,0.2")
  train = Horizons(series, part["train"], 32, 60, 4)
  test = Horizons(series, part["test"], 32, 60, 4, shuffle=False)
  found = forecasting.mean_error(
    baselines.errors(baselines.linear(train), test)["squared"]
  )
  plain = forecasting.mean_error(baselines.errors(baselines.naive(), test)["squared"])
  assert named.NOISE**2 < found < 2 * named.NOISE**2 < plain
