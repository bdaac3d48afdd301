"""A run as it stands, by what it has written so far."""

import json
import math

import pytest
from commands import Command, run

from unroll.records import METRICS, Tail
from unroll.report.terminal import BARS, KEPT, Series, Watched, sparkline


def written(path, *records):
  with path.open("a") as file:
    file.writelines(json.dumps(record) + "\n" for record in records)


def test_records_come_once_and_whole(tmp_path):
  path = tmp_path / METRICS
  tail = Tail(path)
  assert tail.new() == []
  written(path, {"step": 1, "x": 1.0}, {"step": 2})
  assert [r["step"] for r in tail.new()] == [1, 2] and tail.new() == []
  with path.open("a") as file:
    file.write('{"step": 3')
  assert tail.new() == []
  with path.open("a") as file:
    file.write('}\nno record\n{"step": 4}\n')
  assert [r["step"] for r in tail.new()] == [3, 4]
  path.write_text("")
  written(path, {"step": 1})
  assert [r["step"] for r in tail.new()] == [1]


def test_a_line_of_bars():
  assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == BARS
  assert sparkline([0, 0, 7, 7], 2) == BARS[0] + BARS[-1]
  assert sparkline([1, math.nan, 1], 3) == f"{BARS[0]} {BARS[0]}"
  assert sparkline([], 5) == "" and sparkline([math.inf], 5) == " "


def test_a_long_series_is_thinned_to_means():
  series = Series()
  for step in range(5 * KEPT):
    series.add(float(step))
  assert len(series.values) < KEPT and series.last == 5 * KEPT - 1
  each = 5 * KEPT // len(series.values)
  assert series.values[0] == (each - 1) / 2
  assert series.values == sorted(series.values)


def test_lines_of_a_run():
  watched = Watched({"steps": 1000, "minutes": None})
  records = [
    {"step": n, "train/loss": 5 - n / 100, "grad_norm": 1.0} for n in range(1, 251)
  ]
  watched.add([*records, {"step": 250, "seconds": 30.0, "tokens_per_second": 1234.5}])
  watched.add([{"step": 250, "val/loss": None, "val/accuracy": 0.5}])
  first, *others = watched.lines(70)
  assert first == "step 250 of 1,000, 30 s, 1 min 30 s left, 1,234 tokens/s"
  assert [line.split()[0] for line in others] == [
    *("train/loss", "val/loss", "val/accuracy", "grad_norm")
  ]
  assert "2.5 █" in others[0] and others[0].endswith("2.5 to 4.99")
  assert all(len(line) <= 70 for line in others)
  timed = Watched({"minutes": 1.0})
  timed.add([{"step": 5, "seconds": 45.0}])
  assert timed.lines(70) == ["step 5, 45 s, 15 s left"]


@pytest.mark.slow
def test_runs_are_found_and_watched_until_a_stop(tmp_path):
  for name in ("a", "deep/er/b"):
    folder = tmp_path / "runs" / name
    folder.mkdir(parents=True)
    config = {"experiment": "charlm", "flags": {"steps": 10}, "model": "language"}
    config |= {"data": "", "splits": {}, "files": {}}
    (folder / "config.json").write_text(json.dumps(config))
    written(folder / METRICS, {"step": 4, "train/loss": 2.0})
  done = run(tmp_path, "watch", "--workdir=runs", "--once")
  assert done.code == 0, done.err
  assert done.out.count("step 4 of 10") == 2 and "deep/er/b" in done.out
  watching = Command(tmp_path, "watch", "--workdir=runs/a", "--every=0.1")
  out = watching._streams / "1"
  while not (out.is_file() and out.read_text().count("step 4") > 2):
    assert watching.process.is_alive()
  watching.process.terminate()
  ended = watching.wait()
  assert ended.code == 0 and not ended.err
  assert run(tmp_path, "watch", "--workdir=none", "--once").code == 2
