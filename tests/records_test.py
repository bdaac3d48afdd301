"""The records of a run: what is damaged is passed over, and named."""

import json

import pytest

from unroll import records
from unroll.report import curves

GOOD = [{"step": s, "train/loss": 4.0 / s, "note": f"é{s}"} for s in (1, 2, 3)]

# No record, each by itself in the middle of good ones.
DAMAGED = {
  "another kind": b"[1]",
  "text": b"loss 2.3",
  "no step": b'{"loss": 1}',
  "empty": b"",
  "no UTF-8": b"\xff",
  "zeros": b"\0" * 4096,
  "torn": b'{"step": 2, "train/l',
  "two torn into one": b'{"step": 2, "tra{"step": 3, "train/loss": 1.3}',
  "step of another type": b'{"step": "2"}',
  "step that is true": b'{"step": true}',
  "step with a fraction": b'{"step": 2.5}',
  "step below zero": b'{"step": -1}',
  "step without end": b'{"step": 1' + b"0" * 400 + b"}",
  "too deep": b"[" * 100_000,
  "value of another type": b'{"step": 2, "train/loss": "2.0"}',
  "value that is a list": b'{"step": 2, "train/loss": [2.0]}',
  "value that is true": b'{"step": 2, "train/loss": true}',
}


def write(folder, lines):
  path = folder / "metrics.jsonl"
  path.write_bytes(b"".join(line + b"\n" for line in lines))
  return path


def good(found):
  return [json.dumps(record).encode() for record in found]


def never(message):
  pytest.fail(f"warned: {message}")


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_passed_over_and_named(tmp_path, line):
  first, *rest = good(GOOD)
  path = write(tmp_path, [first, line, *rest])
  before, told = path.read_bytes(), []
  assert records.read(path, warn=told.append) == GOOD
  assert told == [f"{path}: line 2 is damaged and passed over"]
  assert curves.curves(tmp_path, warn=told.append).exists() and told[1:] == told[:1]
  assert path.read_bytes() == before


def test_many_are_counted(tmp_path):
  path = write(tmp_path, [b"x", *good(GOOD), *DAMAGED.values()])
  told: list[str] = []
  assert records.read(path, warn=told.append) == GOOD
  many = len(DAMAGED) + 1
  assert told == [
    f"{path}: {many} lines, the first of them 1, are damaged and passed over"
  ]


@pytest.mark.parametrize("tail", [b"", b'{"step": 4', b"\0" * 4096])
def test_what_is_not_written_yet_is_no_damage(tmp_path, tail):
  path = write(tmp_path, good(GOOD))
  path.write_bytes(path.read_bytes() + tail)
  assert records.read(path, warn=never) == GOOD


def test_a_measure_is_its_numbers():
  values = [1, 2.5, None, float("inf"), float("nan"), 10**400, "2", [2], True]
  found = [{"step": s, "x": value} for s, value in enumerate(values)]
  expected = [(0, 1.0), (1, 2.5), *((s, None) for s in (2, 3, 4, 5))]
  assert records.measured([*found, {"step": 9}], "x") == expected
  assert records.measured(found, "y") == []


def test_what_was_never_a_number_is_no_damage(tmp_path):
  path = write(tmp_path, good([{"step": 1, "x": "a"}, {"step": 2, "x": ["b"]}]))
  assert len(records.read(path, warn=never)) == 2
  assert curves.curves(tmp_path, warn=never).exists()
