"""Schedules at points computed by hand, and the plateau as a story."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unroll import schedules
from unroll.types import BadInput

POINTS = [  # spec, step of 1,000, expected multiple of the learning rate
  ("constant", 0, 1.0),
  ("constant", 5000, 1.0),
  ("linear", 0, 1.0),
  ("linear", 250, 0.75),
  ("linear", 1000, 0.0),
  ("linear:0.2", 500, 0.6),
  ("linear:0.2", 5000, 0.2),
  ("cosine", 0, 1.0),
  ("cosine", 250, 0.5 + 0.5 * 0.5**0.5),
  ("cosine", 500, 0.5),
  ("cosine", 1000, 0.0),
  ("cosine:0.1", 500, 0.55),
  ("cosine:0.1", 5000, 0.1),
  ("exponential:0.25", 0, 1.0),
  ("exponential:0.25", 500, 0.5),
  ("exponential:0.25", 2000, 0.0625),
  ("step:100,0.5", 99, 1.0),
  ("step:100,0.5", 100, 0.5),
  ("step:100,0.5", 399, 0.125),
  ("step:100,0.5,300", 0, 1.0),
  ("step:100,0.5,300", 399, 1.0),
  ("step:100,0.5,300", 400, 0.5),
  ("plateau:2,0.5", 500, 1.0),
]


def at(rate, step, horizon=1000.0, scale=1.0):
  return jax.jit(rate)(jnp.int32(step), jnp.float32(horizon), jnp.float32(scale))


@pytest.mark.parametrize("spec, step, expected", POINTS)
def test_points(spec, step, expected):
  rate = at(schedules.schedule(spec, 0.3), step)
  assert rate.shape == () and rate.dtype == jnp.float32
  np.testing.assert_allclose(rate, 0.3 * expected, rtol=1e-5, atol=1e-7)


def test_every_schedule_has_a_point():
  assert {spec.partition(":")[0] for spec, _, _ in POINTS} == set(schedules.SCHEDULES)


def test_the_horizon_may_move():
  rate = schedules.schedule("linear", 1.0)
  np.testing.assert_allclose(at(rate, 300, 400.0), 0.25)
  np.testing.assert_allclose(at(rate, 300, 600.0), 0.5)
  np.testing.assert_allclose(at(rate, 0, 0.0), 1.0)


@pytest.mark.parametrize("spec", sorted({spec for spec, _, _ in POINTS}))
def test_what_follows_the_end_is_told(spec):
  rate = schedules.schedule(spec, 1.0)
  moves = at(rate, 300, 400.0) != at(rate, 300, 600.0)
  assert schedules.follows_end(spec) == moves


@pytest.mark.parametrize("step, expected", [(0, 0.25), (2, 0.75), (3, 1.0), (9, 1.0)])
def test_warmup(step, expected):
  rate = schedules.schedule("constant", 1.0, warmup_steps=4)
  np.testing.assert_allclose(at(rate, step), expected)


def test_warmup_and_scale_multiply():
  rate = schedules.schedule("linear", 2.0, warmup_steps=1000)
  np.testing.assert_allclose(at(rate, 499, 998.0, scale=0.1), 2 * 0.5 * 0.5 * 0.1)


def test_plateau():
  plateau = schedules.plateau("plateau:2,0.5")
  story = [  # loss, best, bad, scale
    (3.0, 3.0, 0, 1.0),
    (2.0, 2.0, 0, 1.0),
    (2.5, 2.0, 1, 1.0),
    (1.5, 1.5, 0, 1.0),
    (1.5, 1.5, 1, 1.0),  # no better is bad
    (float("nan"), 1.5, 2, 0.5),
    (float("-inf"), 1.5, 3, 0.5),
    (1.6, 1.5, 4, 0.25),
    (1.4, 1.4, 0, 0.25),
  ]
  for loss, *expected in story:
    plateau = plateau.observe(np.float32(loss))
    np.testing.assert_allclose([plateau.best, plateau.bad, plateau.scale], expected)
    assert schedules.Plateau(**json.loads(json.dumps(plateau._asdict()))) == plateau


def test_a_plateau_of_what_is_to_rise_is_that_of_its_negative():
  falling = rising = schedules.plateau("plateau:2,0.5")
  for value in (3.0, 2.0, 2.5, float("inf"), 1.5, 1.5, 1.6, float("-inf"), 0.0, -1.0):
    falling = falling.observe(value)
    rising = rising.observe(-value, "higher")
    assert rising == falling._replace(best=-falling.best)


@pytest.mark.parametrize("better, sign", [("lower", 1), ("higher", -1)])
@pytest.mark.parametrize(
  "interval, values, begun",
  [
    (0, (1, 2, 3, 4), None),
    (1, (3, 2, 2.5), None),  # better than 3, which is more than one before it
    (1, (3, 2, 2.5, 2.1), 40),
    (2, (3, 2, 2.5, 2.1), None),
    (2, (3, 2, 2.5, 2.1, 2), None),  # as good as the best is not worse
    (2, (3, 2, 2.5, 2.1, 2.05, 9), 50),
    (1, (3, float("nan"), 2.5, float("nan")), 40),
    (1, (float("nan"), 3, 2.5, 2.6), None),
  ],
)
def test_averaging_begins_once_the_objective_is_worse(
  interval, values, begun, better, sign
):
  trigger = schedules.NonMonotone(interval)
  for number, value in enumerate(values, 1):
    trigger = trigger.observe(sign * np.float32(value), 10 * number, better)
  assert trigger.begun == begun
  if begun:
    assert trigger.observe(0.0, 1000, better) == trigger


def test_a_plateau_of_an_old_checkpoint_is_read():
  old = {"patience": 2, "factor": 0.5, "best": 1.5, "bad": 1, "scale": 0.25}
  assert schedules.Plateau(**old) == schedules.Plateau(*old.values())
  assert schedules.Plateau(**old)._asdict() == old


@pytest.mark.parametrize("spec", ["constant", "cosine:0.1", "step:10,0.5"])
def test_other_schedules_count_but_do_not_scale(spec):
  plateau = schedules.plateau(spec)
  for loss in (float("nan"), 1.0, 2.0, 3.0):
    plateau = plateau.observe(loss)
  assert (plateau.best, plateau.bad, plateau.scale) == (1.0, 2, 1.0)


@pytest.mark.parametrize(
  "spec",
  [
    "", "cosines", "constant:1", "cosine:2", "cosine:-0.1", "cosine:nan", "linear:",
    "exponential", "exponential:1.5", "step:100", "step:0,0.5", "step:1.5,0.5",
    "step:10,1.5,0", "step:10,0.5,-1", "step:10,0.5,1.5",
    "step:inf,0.5", "plateau:0,0.5", "plateau:2,3", "plateau:a,b",
  ],
)  # fmt: skip
@pytest.mark.parametrize(
  "build",
  [schedules.plateau, schedules.follows_end, lambda s: schedules.schedule(s, 1)],
)
def test_bad_input_names_the_flag(spec, build):
  with pytest.raises(BadInput, match=r"^schedule="):
    build(spec)


def test_bad_rate_and_warmup():
  for rate in (-1.0, float("nan"), float("inf")):
    with pytest.raises(BadInput, match=r"^learning_rate="):
      schedules.schedule("constant", rate)
  with pytest.raises(BadInput, match=r"^warmup_steps="):
    schedules.schedule("constant", 1.0, warmup_steps=-1)
