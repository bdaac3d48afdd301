"""Pictures of forecasts: what there is to show is in one, and its words are true."""

import numpy as np
import pytest

from unroll.report import forecasts

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def forecast(past=9, horizon=5, quantiles=(), holes=()):
  random = np.random.default_rng(past + horizon)
  truth = random.normal(size=horizon)
  truth[list(holes)] = np.nan
  values = np.sort(random.normal(size=(horizon, len(quantiles) or 1)), axis=-1)
  return forecasts.Forecast(
    "OT $a_b$ 温", "2020-01-01", random.normal(size=past), truth, values, quantiles
  )


SHOWN = {
  "one": [forecast()],
  "three": [forecast(quantiles=LEVELS), forecast(horizon=40), forecast(past=2)],
  "one step": [forecast(horizon=1, quantiles=(0.1, 0.5, 0.9))],
  "a short past": [forecast(past=1, horizon=30)],
  "no truth": [forecast(holes=range(5), quantiles=(0.2, 0.5))],
  "nothing": [],
}


def width(path):
  png = path.read_bytes()
  assert png[:8] == b"\x89PNG\r\n\x1a\n"
  return int.from_bytes(png[16:20], "big")


@pytest.mark.parametrize("name", SHOWN)
def test_all_forecasts_have_a_picture(tmp_path, name):
  forecasts.forecasts(SHOWN[name], "a $ title", tmp_path / "f.png")
  assert width(tmp_path / "f.png") == 1200


@pytest.mark.parametrize(
  "values",
  [[2.0], [1.0, np.nan, 3.0], [np.nan, np.nan], list(range(1, 100))],
)
def test_all_errors_have_a_picture(tmp_path, values):
  found = {"model": np.array(values), "naive": 2 * np.array(values)}
  forecasts.errors(found, "MSE", "title", tmp_path / "e.png")
  assert width(tmp_path / "e.png") == 1200


def texts(shown):
  _, panels = forecasts.figure_of(1, "title")
  forecasts._forecast(panels[0], shown)
  return panels[0].get_legend_handles_labels()[1], panels[0]


def test_the_intervals_are_named_by_what_they_should_hold():
  labels, panel = texts(forecast(quantiles=LEVELS))
  assert labels == ["truth", "interval of 90%", "interval of 50%", "median"]
  assert panel.get_title(loc="left") == "OT $a_b$ 温, forecast from 2020-01-01 on"
  assert texts(forecast())[0] == ["truth", "forecast"]
  assert texts(forecast(quantiles=(0.2, 0.5)))[0] == ["truth", "median"]


def test_a_value_stands_at_its_own_step():
  shown = forecast(past=9, horizon=5, quantiles=LEVELS)
  _, panel = texts(shown)
  truth, median = panel.lines[:2]
  np.testing.assert_array_equal(truth.get_xdata(), np.arange(-4, 6))
  np.testing.assert_array_equal(truth.get_ydata()[:5], shown.past[-5:])
  np.testing.assert_array_equal(truth.get_ydata()[5:], shown.truth)
  np.testing.assert_array_equal(median.get_xdata(), np.arange(1, 6))
  np.testing.assert_array_equal(median.get_ydata(), shown.forecast[:, 2])
