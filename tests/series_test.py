"""Laws of real-valued series: what is read is what stands there, in order of time."""

import csv
import io
import itertools
import json

import numpy as np
import pytest

from unroll.data.series import Series, calendar, named, regular, stamps, table
from unroll.data.series.gaps import filled
from unroll.data.series.horizons import Horizons
from unroll.data.series.parts import split
from unroll.data.series.scaler import Scaler
from unroll.data.series.stamps import Clock
from unroll.data.table import read_table
from unroll.types import BadInput

NAN = np.nan


def read(text, **options):
  options = {"time": "day", "targets": ("y",), "warn": pytest.fail, **options}
  return regular.series(read_table(text.encode(), "f.csv"), **options)


def made(values, targets=None, gaps="refuse", clock=None):
  """A series of values `[N]` or `[N, C]`, whose ticks are numbers from 0."""
  values = np.asarray(values, float)
  values = values[:, None] if values.ndim == 1 else values
  columns = tuple("abcdefg"[: values.shape[1]])
  clock = clock or Clock("integer", 0, 1)
  return Series("made", clock, columns, targets or len(columns), values, gaps)


# What is wrong -> the file, and what the sentence about it names.
FAULTS = {
  "text among numbers": (
    "day,y\n2020-01-01,1\n2020-01-02,many\n",
    ("line 3", "column y", "'many'"),
  ),
  "a decimal comma": ("day;y\n2020-01-01;1,5\n", ("line 2", "column y", "'1,5'")),
  "an underscore": ("day,y\n2020-01-01,1_0\n", ("line 2", "column y", "'1_0'")),
  "infinite": ("day,y\n2020-01-01,1e999\n", ("line 2", "column y", "1e999")),
  "after a cell of two lines": (
    'day,y,note\n2020-01-01,1,"a\nb"\n2020-01-02,x,c\n',
    ("line 4", "column y", "'x'"),
  ),
  "no such target": ("day,yy\n2020-01-01,1\n", ("'y'", "did you mean 'yy'?")),
  "a column twice": ("day,y,y\n2020-01-01,1,2\n", ("2 columns 'y'",)),
  "a row too short": ("day,y\n2020-01-01\n", ("line 2", "1 cells", "2")),
  "no rows": ("day,y\n", ("no row",)),
  "empty": ("", ("no row",)),
  "no stamp": ("day,y\n2020-01-01,1\nlater,2\n", ("line 3", "column day", "later")),
  "no such date": ("day,y\n2020-02-30,1\n", ("line 2", "column day", "2020-02-30")),
  "another kind of stamp": ("day,y\n2020-01-01,1\n7,2\n", ("line 3", "line 2", "'7'")),
  "a stamp twice": (
    "day,y\n2020-01-01,1\n2020-01-02,2\n2020-01-01,3\n",
    ("line 4", "line 2", "2020-01-01"),
  ),
  "off the grid": (
    "day,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03,2\n2020-01-03 12:00,2\n",
    ("line 5", "1 day"),
  ),
  "a missing value": (
    "day,y\n2020-01-01,1\n2020-01-02,NA\n2020-01-03,\n",
    ("line 3", "column y", "2 are", "gaps=forward"),
  ),
  "a missing time": (
    "day,y\n2020-01-01,1\n2020-01-02,2\n2020-01-04,3\n",
    ("2020-01-03", "lines 3 and 4", "gaps=linear"),
  ),
  "a target that is the time": (
    "day,y\n1,2\n",
    ("'day'", "twice"),
    {"targets": ["day"]},
  ),
  "which of several": ("day,y,z\n1,2,3\n", ("day, y, z", "target"), {"targets": ()}),
  "another way to fill": ("day,y\n1,2\n", ("gaps=guess", "linear"), {"gaps": "guess"}),
  "nothing before": ("day,y\n1,?\n2,3\n", ("line 2", "column y"), {"gaps": "linear"}),
  "mostly gaps": (
    "day,y\n0,1\n1,2\n900,3\n",
    ("3 of 901",),
    {"gaps": "forward"},
  ),
  "another form": (
    "day,y\n31.12.2020,1\n2021-01-01,2\n",
    ("line 3", "%d.%m.%Y"),
    {"time_format": "%d.%m.%Y"},
  ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_by_file_line_and_column(fault):
  text, names, *options = FAULTS[fault]
  with pytest.raises(BadInput) as error:
    read(text, **(options[0] if options else {}))
  for name in ("f.csv", *names) if "another way" not in fault else names:
    assert name in str(error.value)
  assert "--" not in str(error.value)


def test_what_is_no_text_is_refused():
  with pytest.raises(BadInput, match=r"f\.csv, line 2 is not UTF-8"):
    read_table(b"day,y\n\xff,1\n", "f.csv")


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(BadInput, match=r"none\.csv cannot be read \(No such file"):
    regular.load(tmp_path / "none.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
def test_a_table_is_read_however_it_is_written(end, separator, start):
  rows = [["day", " y", "z"], ["2020-01-01", "1.5", "-3e2"], ["2020-01-02", " 2", ".5"]]
  text = start + end.join(separator.join(row) for row in rows)
  series = read(text, targets=("z",), inputs=("y",))
  assert series.columns == ("z", "y")
  assert series.targets == 1
  assert series.values.tolist() == [[-300, 1.5], [0.5, 2]]


def test_rows_are_sorted_and_that_is_said():
  said = []
  series = read(
    "day,y\n2020-01-01,1\n2020-01-03,3\n2020-01-02,2\n2020-01-04,4\n", warn=said.append
  )
  assert series.values[:, 0].tolist() == [1, 2, 3, 4]
  assert len(said) == 1
  assert "f.csv, line 3, column day: '2020-01-03' is out of order" in said[0]


# Stamps, the steps between them, and the two that follow.
STAMPS = {
  "days": (["2019-12-30", "2019-12-31"], "1 day", ["2020-01-01", "2020-01-02"]),
  "weeks": (["2020-01-06", "2020-01-13"], "7 days", ["2020-01-20", "2020-01-27"]),
  "months": (["1949-11", "1949-12"], "1 month", ["1950-01", "1950-02"]),
  "first days": (
    ["2020-11-01", "2020-12-01", "2021-01-01"],
    "1 month",
    ["2021-02-01", "2021-03-01"],
  ),
  "last days": (
    ["2019-12-31", "2020-01-31", "2020-02-29"],
    "1 month",
    ["2020-03-31", "2020-04-30"],
  ),
  "quarters": (
    ["2020-01-15", "2020-04-15", "2020-07-15"],
    "3 months",
    ["2020-10-15", "2021-01-15"],
  ),
  "hours": (
    ["2020-02-28 22:00:00", "2020-02-28 23:00:00"],
    "1 hour",
    ["2020-02-29 00:00:00", "2020-02-29 01:00:00"],
  ),
  "an offset": (
    ["2020-01-01T01:00:00+02:00", "2020-01-01T01:30:00+02:00"],
    "30 minutes",
    ["2020-01-01 00:00:00+00:00", "2020-01-01 00:30:00+00:00"],
  ),
  "numbers": (["-3", "0"], "3", ["3", "6"]),
  "fractions": (["0.1", "0.2", "0.3"], "0.1", ["0.4", "0.5"]),
}


@pytest.mark.parametrize("name", STAMPS)
def test_the_clock_goes_on_as_the_stamps_do(name):
  texts, every, after = STAMPS[name]
  found = [stamps.read(text) for text in texts]
  clock = stamps.clock(found)
  assert clock.every() == every
  assert stamps.ticks(clock, found).tolist() == list(range(len(texts)))
  assert [clock.write(len(texts) + i) for i in (0, 1)] == after
  own = name != "an offset"  # which is written in UTC
  assert not own or [clock.write(i) for i in range(len(texts))] == texts


def test_the_step_is_the_most_frequent_one():
  days = [1, 2, 3, 4, 7, 8, 11]
  found = [stamps.read(f"2020-01-{day:02}") for day in days]
  clock = stamps.clock(found)
  assert clock.every() == "1 day"
  assert stamps.ticks(clock, found).tolist() == [day - 1 for day in days]


def test_a_time_without_a_row_is_a_missing_value():
  text = "day,y,z\n1,1,5\n2,2,NaN\n5,?,6\n"
  series = read(text, targets=("y", "z"), gaps="linear")
  expected = [[1, 5], [2, NAN], [NAN, NAN], [NAN, NAN], [NAN, 6]]
  np.testing.assert_array_equal(series.values, expected)


def test_holes_are_filled_with_what_came_before_or_a_line():
  values = np.array([[1, NAN, NAN, 7, NAN], [2, 3, NAN, NAN, 9]]).T
  forward = [[1, 2], [1, 3], [1, 3], [7, 3], [7, 9]]
  line = [[1, 2], [3, 3], [5, 5], [7, 7], [7, 9]]
  assert filled(values, "forward").values.tolist() == forward
  assert filled(values, "linear").values.tolist() == line
  for how, wrong in (("refuse", values), ("linear", values[1:])):
    with pytest.raises(ValueError, match="missing"):
      filled(wrong, how)


@pytest.mark.parametrize("how", ["forward", "linear"])
def test_a_past_shows_only_what_was_known_at_its_end(how):
  random = np.random.default_rng(3)
  values = random.normal(size=(40, 2))
  values[random.random(values.shape) < 0.4] = NAN
  values[0] = (1, 2)
  for origin in range(5, 40):
    cut = filled(values[:origin], how).values[origin - 5 :]
    whole = filled(values, how).before(np.array([origin]), 5)
    np.testing.assert_allclose(whole[:, 0], cut, rtol=1e-12)


# A spec -> the rows of each part, of 20 monthly stamps from 1949-01 on.
SPLITS = {
  "0.5,0.25,0.25": [(0, 10), (10, 15), (15, 20)],
  "0.7,0.2": [(0, 14), (14, 18)],
  "12,4,4": [(0, 12), (12, 16), (16, 20)],
  "3,4,5": [(0, 3), (3, 7), (7, 12)],
  "at:1950-01": [(0, 12), (12, 20)],
  "at:1949-06,1950-03": [(0, 5), (5, 14), (14, 20)],
}
FAULTY_SPLITS = {
  "0.5": "1 parts",
  "1,2,3,4": "4 parts",
  "at:1949-06,1950-03,1950-04": "3 parts",
  "0.9,0.2": "split=0.9,0.2",
  "12,4,5": "every part needs a row",
  "0,4,5": "every part needs a row",
  "at:1950-03,1949-06": "every part needs a row",
  "at:1948-01": "every part needs a row",
  "at:1951-01": "every part needs a row",
  "at:7": "'7' is not a stamp",
  "at:soon": "1949-01 to 1950-08",
}


@pytest.fixture
def monthly():
  return made(range(20), clock=Clock("month", 12 * 1949, 1))


@pytest.mark.parametrize("spec", SPLITS)
def test_parts_follow_one_another_in_time(monthly, spec):
  found = split(monthly, spec)
  assert list(found) == ["train", "val", "test"][: len(SPLITS[spec])]
  assert list(found.values()) == [range(*edge) for edge in SPLITS[spec]]


@pytest.mark.parametrize("spec", FAULTY_SPLITS)
def test_a_split_that_does_not_fit_is_refused(monthly, spec):
  with pytest.raises(BadInput, match="split=") as error:
    split(monthly, spec)
  assert FAULTY_SPLITS[spec] in str(error.value)


def test_a_day_cuts_hours_and_a_fraction_its_own_row():
  hours = made(range(60), clock=stamps.clock([
    stamps.read("2020-01-01 00:00"), stamps.read("2020-01-01 01:00")
  ]))  # fmt: skip
  assert split(hours, "at:2020-01-02")["val"] == range(24, 60)
  tenths = made(range(20), clock=Clock("float", 0.1, 0.1))
  assert split(tenths, "at:0.4")["val"] == range(3, 20)  # (0.4 - 0.1) / 0.1 > 3


def test_the_scaler_is_fitted_on_the_training_part_alone():
  random = np.random.default_rng(0)
  values = random.normal(3, 2, size=(30, 2))
  values[4, 1] = NAN
  changed = values.copy()
  changed[20:] = random.normal(size=(10, 2)) * 1e6
  first, second = (Scaler.fit(made(v), range(20)) for v in (values, changed))
  np.testing.assert_array_equal(first.mean, second.mean)
  np.testing.assert_array_equal(first.scale, second.scale)
  scaled = first.apply(made(values)).values
  np.testing.assert_allclose(np.nanmean(scaled[:20], axis=0), 0, atol=1e-12)
  np.testing.assert_allclose(np.nanstd(scaled[:20], axis=0), 1, rtol=1e-12)
  assert np.isnan(scaled[4, 1])
  np.testing.assert_allclose(first.invert(scaled), values, rtol=1e-12)
  np.testing.assert_allclose(first.invert(scaled[:, :1]), values[:, :1], rtol=1e-12)


def test_a_constant_column_is_not_scaled_and_that_is_said():
  values = np.stack([np.full(9, 0.1), np.arange(9)], axis=1)
  said = []
  scaler = Scaler.fit(made(values), range(7), said.append)
  assert scaler.mean[0] == 0.1
  assert scaler.scale[0] == 1
  assert len(said) == 1
  assert "column a is constant" in said[0]


def test_a_column_without_training_values_is_refused():
  values = np.array([[1.0, NAN], [2.0, NAN], [3.0, 4.0]])
  with pytest.raises(BadInput, match="column b has no value in the training"):
    Scaler.fit(made(values), range(2))


@pytest.mark.parametrize("large", [1e160, -1e300])
def test_a_value_without_a_deviation_is_refused(large):
  values = np.array([[1.0, 2.0], [2.0, large], [3.0, 4.0]])
  with pytest.raises(BadInput, match=r"column b has -?1e\+.* at 1, of which"):
    Scaler.fit(made(values), range(3))


def test_a_scaler_comes_back_from_json_bit_by_bit():
  scaler = Scaler(np.array([0.1, -3e-7]), np.array([1 / 3, 2.0]))
  back = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
  assert back.mean.tolist() == scaler.mean.tolist()
  assert back.scale.tolist() == scaler.scale.tolist()


@pytest.mark.parametrize(
  "fields",
  [
    {},
    [],
    {"mean": [1], "scale": [1, 2]},
    {"mean": [1], "scale": [0]},
    {"mean": ["1"], "scale": [1]},
    {"mean": [True], "scale": [1]},
  ],
)
def test_what_is_no_scaler_is_refused(fields):
  with pytest.raises(BadInput, match=r"s\.json is not a scaler"):
    Scaler.from_json(fields, "s.json")


def horizons(values, part=None, batch=4, window=3, horizon=2, targets=None, **options):
  gaps = options.pop("gaps", "refuse")
  series = made(values, targets, gaps)
  part = part or range(len(series.values))
  return Horizons(series, part, batch, window, horizon, **options)


SOURCES = {
  "in order": {"shuffle": False},
  "shuffled": {"seed": 4},
  "a part": {"shuffle": False, "part": range(7, 16)},
  "a part at the start": {"part": range(2, 12), "seed": 1},
  "one window": {"part": range(10, 12), "shuffle": False},
  "large batches": {"batch": 50, "seed": 2},
  "every third": {"stride": 3, "seed": 5},
  "every fifth of a part": {"stride": 5, "part": range(2, 20), "shuffle": False},
}


@pytest.mark.parametrize("name", SOURCES)
def test_each_window_counts_once_an_epoch_and_its_targets_are_in_the_part(name):
  source = horizons(np.arange(20), **SOURCES[name])
  part = SOURCES[name].get("part", range(20))
  for epoch in range(2):
    seen = []
    for step in range(epoch * len(source), (epoch + 1) * len(source)):
      assert source.epoch(step) == epoch
      batch = source[step]
      whole = batch.weight[:, :, 0].all(axis=0)
      assert (batch.weight == whole[:, None]).all()
      assert batch.past.shape == (3, source.rows, 1)
      for column in np.flatnonzero(whole):
        rows = np.concatenate([batch.past[:, column, 0], batch.future[:, column, 0]])
        assert (np.diff(rows) == 1).all()  # a value is its own row
        seen.append(int(rows[3]))
    stride = SOURCES[name].get("stride", 1)
    assert sorted(seen) == list(range(max(3, part.start), part.stop - 1, stride))
    assert epoch or SOURCES[name].get("shuffle") is not False or seen == sorted(seen)


def test_a_batch_depends_on_nothing_but_its_step():
  options = {"seed": 3, "batch": 5}
  one, two = (horizons(np.arange(30), **options) for _ in range(2))
  for step in (17, 0, 4, 17):
    for a, b in zip(one[step], two[step], strict=True):
      np.testing.assert_array_equal(a, b)
  assert repr(one) == repr(two)
  other = horizons(np.arange(30), seed=4, batch=5)
  assert any((a != b).any() for a, b in zip(one[0], other[0]))


def test_the_first_epochs_have_another_order():
  source = horizons(np.arange(30), batch=26, seed=1)
  assert (source.origins(0) != source.origins(1)).any()


# What makes other batches makes another name.
OTHERS = {
  "values": {"values": np.arange(30) + 1.0},
  "part": {"part": range(29)},
  "batch": {"batch": 3},
  "window": {"window": 4},
  "horizon": {"horizon": 3},
  "known": {"known": np.ones((40, 1))},
  "forced": {"forced": True},
  "stride": {"stride": 2},
  "seed": {"seed": 9},
  "shuffle": {"shuffle": False},
  "columns": {"columns": slice(1, 3)},
}


def test_the_name_tells_sources_apart():
  names = [
    repr(horizons(**{"values": np.arange(30), **own})) for own in OTHERS.values()
  ]
  names.append(repr(horizons(np.arange(30))))
  assert len(set(names)) == len(OTHERS) + 1


def test_columns_are_those_of_the_whole_batch():
  whole = horizons(np.arange(30), seed=5)
  for columns in (slice(0, 1), slice(1, 4)):
    part = horizons(np.arange(30), seed=5, columns=columns)
    assert part.rows == columns.stop - columns.start
    for step, (ours, theirs) in enumerate(itertools.product(range(4), range(5))):
      assert ours < 4
      assert theirs < 5
      for a, b in zip(whole[step], part[step], strict=True):
        np.testing.assert_array_equal(a[:, columns], b)


def test_inputs_stand_in_the_past_and_what_is_known_reaches_ahead():
  values = np.stack([np.arange(12), 100 + np.arange(12)], axis=1)
  known = np.arange(20)[:, None] * [1.0, -1.0]
  source = horizons(values, targets=1, known=known, shuffle=False)
  batch = source.at(np.array([4, 12]))
  assert batch.past[:, 0].tolist() == [[1, 101], [2, 102], [3, 103]]
  assert batch.future.shape == (2, 2, 1)
  assert batch.known[:, 1, 0].tolist() == [9, 10, 11, 12, 13]
  assert batch.known[:, 0, 1].tolist() == [-1, -2, -3, -4, -5]
  assert not batch.weight[:, 1].any()  # times to come have no truth


def test_missing_targets_have_no_weight_and_are_never_read():
  values = np.arange(12.0)
  values[[5, 8]] = NAN
  source = horizons(values, gaps="forward", shuffle=False, forced=True)
  batch = source.at(np.arange(4, 9))
  assert np.isfinite(np.concatenate([np.ravel(leaf) for leaf in batch])).all()
  assert batch.weight[..., 0].tolist() == [[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]]
  assert batch.forced.tolist() == batch.weight.tolist()
  assert batch.past[:, 3, 0].tolist() == [4, 4, 6]
  assert not source.at(np.array([-1])).weight.any()
  unforced = horizons(values, gaps="forward", shuffle=False)
  assert not unforced.at(np.arange(4, 9)).forced.any()


@pytest.mark.parametrize(
  "options",
  [
    {"batch": 0},
    {"window": 0},
    {"stride": 0},
    {"horizon": 0},
    {"window": 29},
    {"horizon": 30},
  ],
)
def test_windows_that_do_not_fit_are_refused(options):
  with pytest.raises(BadInput):
    horizons(np.arange(30), **options)


def test_a_window_reaches_as_far_back_as_it_is_asked_to():
  source = horizons(np.arange(20), window=3)
  assert source.at(np.array([9]), past=7).past[:, 0, 0].tolist() == list(range(2, 9))
  with pytest.raises(ValueError, match="a past of 10 rows"):
    source.at(np.array([9]), past=10)


# The stamp of the first row and the step, and which cycles there are.
CYCLES = {
  "hours": ("2020-01-01 00:00", "2020-01-01 01:00", ["day", "week", "year"]),
  "days": ("2020-01-01", "2020-01-02", ["week", "year"]),
  "weeks": ("2020-01-01", "2020-01-08", ["year"]),
  "months": ("2020-01", "2020-02", ["year"]),
}


@pytest.mark.parametrize("name", CYCLES)
def test_a_calendar_has_the_cycles_of_two_ticks_or_more(name):
  first, second, cycles = CYCLES[name]
  clock = stamps.clock([stamps.read(first), stamps.read(second)])
  names, values = calendar.features(clock, 100)
  assert list(names) == [f"{wave}_{c}" for c in cycles for wave in ("sin", "cos")]
  assert values.shape == (100, 2 * len(cycles))
  np.testing.assert_allclose(values[:, ::2] ** 2 + values[:, 1::2] ** 2, 1, rtol=1e-5)
  if name == "hours":
    np.testing.assert_allclose(values[:-24, :2], values[24:, :2], atol=1e-6)
    np.testing.assert_allclose(values[6, :2], [1, 0], atol=1e-6)


@pytest.mark.parametrize("clock", [Clock("integer", 0, 1), Clock("month", 24000, 12)])
def test_a_clock_without_cycles_has_no_calendar(clock):
  with pytest.raises(BadInput, match="leave its features out"):
    calendar.features(clock, 9)


def test_the_sine_is_a_sine_and_starts_alike_whatever_its_length():
  short, long = (named.sine(length, seed=3).values for length in (100, 5000))
  np.testing.assert_array_equal(short, long[:100])
  wave = np.sin(2 * np.pi * np.arange(5000) / named.PERIOD)
  assert abs(np.std(long[:, 0] - wave) - named.NOISE) < 0.005
  assert (named.sine(100, seed=4).values != short).any()


def test_a_name_that_is_none_is_refused():
  with pytest.raises(BadInput, match=r"series=airlines: .* did you mean airline\?"):
    named.load("airlines")
  with pytest.raises(BadInput, match="one column"):
    named.load("sine", targets=("z",))


@pytest.mark.parametrize("name", named.SERIES)
def test_the_entries_hang_together(name):
  entry = named.SERIES[name]
  assert len(entry.file.sha256) == 64
  assert entry.file.url.endswith(entry.file.path.rpartition("/")[2])
  assert entry.lag > 1


def test_forecasts_far_from_zero_keep_what_tells_them_apart(monthly):
  steps = np.arange(len(monthly.values), dtype=float)[:, None]
  values = 1e9 + np.sin(steps / 3)
  series = monthly._replace(columns=("a",), targets=1, values=values)
  text = table.forecast_csv(series, 20, values[:5, :, None])
  found = [float(row[1]) for row in csv.reader(io.StringIO(text)) if row[0] != "time"]
  np.testing.assert_allclose(found, values[:5, 0], atol=1e-6, rtol=0)


def test_forecasts_are_written_with_their_stamps(monthly):
  series = monthly._replace(columns=("a",))
  forecast = np.array([[[1, 2.5, 4]], [[-1, 0, 1e6]]])
  rows = list(csv.reader(io.StringIO(
    table.forecast_csv(series, 20, forecast, (0.1, 0.5, 0.9))
  )))  # fmt: skip
  assert rows == [
    ["time", "a_q0.1", "a_q0.5", "a_q0.9"],
    ["1950-09", "1", "2.5", "4"],
    ["1950-10", "-1", "0", "1000000"],
  ]
  assert table.forecast_csv(series, 0, forecast[..., :1]).startswith(
    "time,a\n1949-01,1"
  )
