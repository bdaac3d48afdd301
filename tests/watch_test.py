"""A run as it stands, by what it has written so far."""

import json
import math

import pytest
from commands import Command, run

from unroll.errors import BadInput
from unroll.records import METRICS, Tail
from unroll.report import sweeps
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


def trial(slot, state, value, **params):
  values = None if value is None else [value, 1.0]
  return {"slot": slot, "state": state, "values": values, "params": params}


SWEPT = {
  "objective": ["val/loss", "val/accuracy"],
  "directions": ["minimize", "maximize"],
  "trials": [
    trial(0, "complete", 2.5, cell="rnn", learning_rate=0.004),
    trial(1, "complete", 1.25, cell="lstm", learning_rate=0.00123456789),
    trial(2, "failed", None, cell="gru\x1b[2J", learning_rate=1.0),
    trial(3, "running", None, cell="gru", learning_rate=0.5),
    trial(4, "pruned", math.nan, cell="gru", learning_rate=0.25),
  ],
}


def test_a_sweep_is_a_table_of_its_best_trials(tmp_path):
  assert sweeps.read(tmp_path) is None
  (tmp_path / sweeps.TRIALS).write_text(json.dumps(SWEPT))
  sweep = sweeps.read(tmp_path)
  first, head, *rows = sweep.lines(80, 5)
  assert first == "5 trials: 2 complete, 1 failed, 1 pruned, 1 running"
  assert head.split() == ["trial", "val/loss", "cell", "learning_rate"]
  assert [row.split() for row in rows] == [
    ["1", "1.25", "lstm", "0.00123457"],
    ["0", "2.5", "rnn", "0.004"],
  ]
  assert len(sweep.lines(20, 1)) == 3 and max(map(len, sweep.lines(20, 5))) == 20
  assert sweep.of("0003-seed7").state == "running" and sweep.of("elsewhere") is None
  higher = sweep._replace(lower=False)
  assert [trial.slot for trial in higher.ranked] == [0, 1]
  assert "\x1b" not in str(sweep)


@pytest.mark.parametrize(
  "text", ["", "[]", "{}", '{"objective": [], "directions": [], "trials": []}', "\xff"]
)
def test_a_damaged_sweep_is_said(tmp_path, text):
  (tmp_path / sweeps.TRIALS).write_bytes(text.encode("latin-1"))
  with pytest.raises(BadInput, match=r"trials.json is damaged"):
    sweeps.read(tmp_path)


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
  (tmp_path / "runs" / "a").rename(tmp_path / "runs" / "0003-seed0")
  (tmp_path / "runs" / sweeps.TRIALS).write_text(json.dumps(SWEPT))
  done = run(tmp_path, "watch", "--workdir=runs", "--once")
  assert done.code == 0 and done.out.startswith("5 trials: 2 complete")
  assert "runs/0003-seed0\nstep 4 of 10" in done.out and "er/b" not in done.out
