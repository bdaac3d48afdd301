"""What settings choose of a series: read as told, scaled by its training part, cut."""

import dataclasses

import numpy as np
import pytest

from experiments.parts import series as chosen
from unroll.data.series import named
from unroll.data.series.scaler import Scaler
from unroll.settings import described
from unroll.types import BadInput


@pytest.fixture
def file(tmp_path):
  """Hours from Friday on, y = row², z = -row."""
  lines = [f"2021-01-{1 + i // 24:02} {i % 24:02}:00,{i * i},{-i}" for i in range(100)]
  path = tmp_path / "hours.csv"
  path.write_text("\n".join(["when,y,z", *lines]))
  return str(path)


def load(file, scaler=None, **options):
  options = {"csv": file, "time": "when", "target": ("y",), **options}
  options = {"window": 5, "horizon": 3, **options}
  return chosen.load(chosen.Series(**options), scaler=scaler, warn=pytest.fail)


def test_every_field_is_described():
  fields = {field.name for field in dataclasses.fields(chosen.Series)}
  assert described(chosen.Series).keys() == fields


def test_a_file_is_read_split_and_scaled(file):
  data = load(file, inputs=("z",), split="60,20,20")
  assert data.parts == {
    "train": range(60),
    "val": range(60, 80),
    "test": range(80, 100),
  }
  assert data.series.columns == ("y", "z")
  np.testing.assert_array_equal(data.series.values[:, 0], np.arange(100) ** 2)
  np.testing.assert_allclose(data.scaled.values[:60].mean(axis=0), 0, atol=1e-9)
  np.testing.assert_allclose(data.scaled.values[:60].std(axis=0), 1)
  assert data.lag == 1
  assert data.known is None


def test_a_series_that_is_not_scaled_is_itself(file):
  data = load(file, scale="none")
  np.testing.assert_array_equal(data.scaled.values, data.series.values)


def test_windows_of_training_have_the_stride_and_those_of_evaluation_are_all(file):
  data = load(file, split="60,20,20", stride=7, scale="none")
  train, val = data.training(4, seed=3), data.evaluation("val", 4)
  assert (train.windows, val.windows) == (8, 18)
  assert train.seed == 3
  first = val[0]
  np.testing.assert_array_equal(first.past[:, 0, 0], np.arange(55, 60) ** 2)
  np.testing.assert_array_equal(first.future[:, 0, 0], np.arange(60, 63) ** 2)
  assert data.training(4, 0, columns=slice(1, 3)).rows == 2
  assert data.training(4, 0, forced=True)[0].forced.any()
  assert not first.forced.any()


def test_the_calendar_reaches_beyond_the_end(file):
  data = load(file, calendar=True)
  assert data.known.shape == (103, 6)
  assert data.evaluation("test", 2)[0].known.shape == (8, 2, 6)


def test_the_scaler_of_a_training_is_kept(file):
  scaler = Scaler(np.array([1.0]), np.array([2.0]))
  data = load(file, scaler=scaler)
  np.testing.assert_array_equal(data.scaled.values[:, 0], (np.arange(100) ** 2 - 1) / 2)
  with pytest.raises(BadInput, match="`target` and `inputs` name 2 columns"):
    load(file, scaler=scaler, inputs=("z",))


def test_a_series_that_is_only_forecast_from_is_not_split(file):
  scaler = Scaler(np.array([1.0]), np.array([2.0]))
  data = chosen.load(
    chosen.Series(csv=file, time="when", target=("y",), split="99,1,1"),
    scaler=scaler,
    cut=False,
  )
  assert data.parts == {}
  assert len(data.scaled.values) == 100


@pytest.mark.parametrize("change", [
  {"target": ("z",)}, {"inputs": ("z",)}, {"split": "0.5,0.5"}, {"scale": "none"},
])  # fmt: skip
def test_other_data_have_another_digest(file, change):
  assert load(file).sha256 == load(file).sha256 != load(file, **change).sha256


def test_a_named_series_has_its_own_season():
  for given, lag in ((0, named.PERIOD), (7, 7)):
    settings = chosen.Series(series="sine", lag=given)
    assert chosen.load(settings).lag == lag


def test_the_seed_draws_the_noise():
  settings = chosen.Series(series="sine")
  one, two = (chosen.load(settings, seed=seed).series.values for seed in (1, 2))
  assert (one != two).any()


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"series": "sine", "time": "day"}, "time=day"),
    ({"series": "sine", "time_format": "%Y"}, "time_format=%Y"),
    ({"series": "moon"}, "series=moon"),
    ({"series": "sine", "calendar": True}, "no calendar"),
    ({"series": "sine", "split": "1"}, "split=1"),
    ({"csv": "/nowhere.csv"}, "/nowhere.csv cannot be read"),
  ],
)
def test_settings_that_do_not_fit_are_refused(options, said):
  with pytest.raises(BadInput, match=said):
    chosen.load(chosen.Series(**options))


def test_a_part_that_is_not_there_is_refused(file):
  with pytest.raises(BadInput, match=r"split=0\.8,0\.2: it has no test part"):
    load(file, split="0.8,0.2").evaluation("test", 4)
