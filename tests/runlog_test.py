"""The log of a run: kill it anywhere, resume it, and the lines are the same."""

import errno
import json
import math
import os
import re
import resource
import signal
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from unroll import records, runlog


def record(step):
  return {"step": step, "train/loss": 1 / (step + 1), "note": f"é{step}"}


def write(workdir, start, steps):
  with runlog.RunLog(workdir, start) as log:
    for step in steps:
      log.write(record(step))
  return workdir / "metrics.jsonl"


def events(workdir):
  """Every event of every file in TensorBoard's order, framing and checksums checked."""
  found = []
  for path in sorted(workdir.glob("*tfevents*")):
    data = path.read_bytes()
    while data:
      (size,) = struct.unpack("<Q", data[:8])
      assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
      body, data = data[12 : 12 + size], data[12 + size :]
      assert struct.unpack("<I", data[:4])[0] == masked_crc32c(body)
      found.append(Event.FromString(body))
      data = data[4:]
  return found


def test_a_record_is_on_disk_as_soon_as_it_is_written(tmp_path):
  with runlog.RunLog(tmp_path) as log:
    for step in range(3):
      log.write(record(step))
      assert records.read(tmp_path / "metrics.jsonl")[-1] == record(step)
      assert events(tmp_path)[-1].step == step


@pytest.mark.parametrize("killed_after", [5, 6, 9])
@pytest.mark.parametrize("torn", [b"", b'{"step": 9, "train/l', b"\0\0\0"])
def test_resumed_log_equals_an_uninterrupted_one(tmp_path, killed_after, torn):
  (tmp_path / "whole").mkdir()
  (tmp_path / "resumed").mkdir()
  whole = write(tmp_path / "whole", 0, range(12))
  resumed = write(tmp_path / "resumed", 0, range(killed_after + 1))
  with open(resumed, "ab") as file:
    file.write(torn)
  assert len(records.read(resumed)) == killed_after + 1
  write(tmp_path / "resumed", 5, range(6, 12))
  assert resumed.read_bytes() == whole.read_bytes()
  assert not list(tmp_path.glob("*/*.tmp"))


def test_step_zero_starts_empty(tmp_path):
  write(tmp_path, 0, range(4))
  assert write(tmp_path, 0, []).read_bytes() == b""


def test_two_opens_in_one_second_make_two_event_files(tmp_path):
  write(tmp_path, 0, range(4))
  write(tmp_path, 2, [3])
  assert len(list(tmp_path.glob("*tfevents*"))) == 2


def test_a_clock_set_back_hides_no_event_file(tmp_path, monkeypatch):
  # TensorBoard reads the files in the order of their names.
  for number, now in enumerate([2e9, 1e9, 1.5e9, 2e9 + 7]):
    monkeypatch.setattr("time.time", lambda now=now: now)
    write(tmp_path, number, [number + 1])
  steps = [e.step for e in events(tmp_path) if e.HasField("summary")]
  assert steps == [1, 2, 3, 4]
  newest = max(path.name for path in tmp_path.glob("*tfevents*"))
  assert newest.startswith("events.out.tfevents.2000000007.")


def test_sync_reaches_the_disk(tmp_path, monkeypatch):
  synced = []

  def fsync(descriptor):
    synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))

  with runlog.RunLog(tmp_path) as log:
    log.write(record(1))
    monkeypatch.setattr("os.fsync", fsync)
    log.sync()
    assert synced[0] == "metrics.jsonl" and "tfevents" in synced[1]

    def failing(descriptor):
      raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(OSError, match=r"metrics.jsonl could not be written: Input/ou"):
      log.sync()


def test_events_hold_the_numbers_and_hide_the_dropped_steps(tmp_path):
  write(tmp_path, 0, range(4))
  write(tmp_path, 2, [3])
  scalars = [
    (e.step, v.tag, v.simple_value) for e in events(tmp_path) for v in e.summary.value
  ]
  expected = [(s, "train/loss", np.float32(1 / (s + 1))) for s in (0, 1, 2, 3, 3)]
  assert scalars == expected
  # TensorBoard forgets every step from that of a START event on.
  assert [e.step for e in events(tmp_path) if e.HasField("session_log")] == [0, 3]


def test_values_of_every_kind(tmp_path):
  with runlog.RunLog(tmp_path) as log:
    log.write(
      {"step": np.int64(1), "jax": jnp.float32(0.5), "n": 3, "ok": True, "list": [1, 2]}
    )
    log.write({"step": 2, "loss": math.nan, "peak": -math.inf, "np": np.float32("inf")})
  first, second = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert json.loads(first) == {
    "step": 1,
    "jax": 0.5,
    "n": 3,
    "ok": True,
    "list": [1, 2],
  }
  assert json.loads(second) == {"step": 2, "loss": None, "peak": None, "np": None}
  values = [{v.tag: v.simple_value for v in e.summary.value} for e in events(tmp_path)]
  assert values[-2] == {"jax": 0.5, "n": 3.0}
  assert math.isnan(values[-1]["loss"])
  assert values[-1]["peak"] == -math.inf


def said(workdir, step):
  """What is said where a run goes on at a step."""
  told: list[str] = []
  with runlog.RunLog(workdir, step, warn=told.append):
    pass
  return told


@pytest.mark.parametrize("line", [b"[1]", b"loss 2.3", b'{"loss": 1}', b"", b"\xff"])
def test_a_line_that_is_no_record_is_named_and_kept_beside(tmp_path, line):
  path = write(tmp_path, 0, range(3))
  whole = path.read_bytes()
  lines = whole.splitlines()
  path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]) + b"\n")
  damaged = path.read_bytes()
  copy = tmp_path / "metrics.jsonl.damaged"
  assert said(tmp_path, 2) == [
    f"{path}: line 2 is damaged and left out; {copy} is a copy with it"
  ]
  assert path.read_bytes() == whole and copy.read_bytes() == damaged
  assert said(tmp_path, 2) == []


LOSSES = {
  "torn in the middle": lambda data: data[: len(data) // 2],
  "zeros at the end": lambda data: data[:200] + b"\0" * (len(data) - 200),
  "zeros in the middle": lambda data: data[:200] + b"\0" * 200 + data[400:],
  "a line taken out": lambda data: re.sub(rb'{"step": 4,.*\n', b"", data),
  "all zeros": lambda data: b"\0" * len(data),
  "empty": lambda data: b"",
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_a_log_behind_the_checkpoint_says_how_many_steps_it_lacks(tmp_path, lose):
  path = write(tmp_path, 0, range(13))
  lines = path.read_bytes().splitlines(True)
  data = lose(path.read_bytes())
  lost = [step for step, line in enumerate(lines) if step and line not in data]
  path.write_bytes(data)
  damaged = data.count(b"\n") - sum(line in data for line in lines)
  *others, missing = said(tmp_path, 12)
  assert missing == (
    f"{path} lacks the lines of {len(lost)} of 12 steps, the first is step {lost[0]}: "
    "the run goes on without them"
  )
  assert len(others) == damaged <= 1
  assert path.read_bytes() == b"".join(line for line in lines if line in data)


def test_no_log_at_all_is_said(tmp_path):
  [missing] = said(tmp_path, 5)
  assert "lacks the lines of 5 of 5 steps, the first is step 1" in missing


def test_later_damage_is_no_loss(tmp_path):
  path = write(tmp_path, 0, range(6))
  with open(path, "ab") as file:
    file.write(b"\0" * 500)  # what follows the checkpoint goes, damaged or not
  assert said(tmp_path, 5) == []


def test_a_record_without_a_step_is_not_written(tmp_path):
  with runlog.RunLog(tmp_path) as log, pytest.raises(KeyError, match="step"):
    log.write({"loss": 1.0})
  assert records.read(tmp_path / "metrics.jsonl") == []


def test_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
  try:
    full = pytest.raises(
      OSError, match="could not be written: File too large; make room"
    )
    with runlog.RunLog(tmp_path) as log, full:
      for step in range(1000):
        log.write(record(step))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
  found = records.read(tmp_path / "metrics.jsonl")
  assert len(found) > 10
  assert found == [record(step) for step in range(len(found))]
