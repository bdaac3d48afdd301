"""How often truth is fed: rates at known steps, between 0 and 1, never rising."""

import math

import pytest

from unroll.data.forcing import always, schedule
from unroll.types import BadInput

POINTS = [  # spec, step, rate
  ("1", 0, 1.0),
  ("0.25", 7, 0.25),
  ("constant:0", 10**9, 0.0),
  ("linear:1,0.5,100", 0, 1.0),
  ("linear:1,0.5,100", 50, 0.75),
  ("linear:1,0.5,100", 100, 0.5),
  ("linear:1,0.5,100", 10**6, 0.5),
  ("exponential:0.9", 0, 1.0),
  ("exponential:0.9", 3, 0.729),
  ("exponential:0", 1, 0.0),
  ("inverse_sigmoid:1", 0, 0.5),
  ("inverse_sigmoid:100", 0, 100 / 101),
  ("inverse_sigmoid:100", 200, 100 / (100 + math.exp(2))),
  ("inverse_sigmoid:1", 10**9, 0.0),
]
FALLING = ("0.5", "linear:1,0.2,30", "exponential:0.97", "inverse_sigmoid:20")


@pytest.mark.parametrize(("spec", "step", "rate"), POINTS)
def test_rates_are_those_of_the_paper(spec, step, rate):
  assert schedule(spec)(step) == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize("spec", FALLING)
def test_a_rate_falls_and_stays_a_rate(spec):
  rates = [schedule(spec)(step) for step in (*range(200), 10**4, 10**8)]
  assert rates == sorted(rates, reverse=True)
  assert 0 <= min(rates) <= max(rates) <= 1


def test_only_a_rate_of_one_that_stays_is_always():
  assert always("1") and always("1.0") and always("constant:1")
  for spec in ("0.99", "linear:1,0,10", "exponential:1", "constant:0"):
    assert not always(spec)


@pytest.mark.parametrize(
  "spec",
  [
    *("", "half", "1.5", "-0.1", "nan", "inf", "constant", "constant:2", "linear"),
    *("linear:1,0", "linear:2,0,5", "linear:1,-1,5", "linear:1,0,0", "linear:1,0,inf"),
    *("linear:nan,0,5", "exponential:1.1", "exponential:-1", "inverse_sigmoid:0.5"),
    *("inverse_sigmoid:inf", "inverse_sigmoid:nan", "exponential:0.5,2"),
  ],
)
def test_what_is_no_rate_is_refused(spec):
  with pytest.raises(BadInput, match=r"^teacher_forcing="):
    schedule(spec)
