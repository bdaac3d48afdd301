"""The log of a run: kill it anywhere, resume it, and the lines are the same."""

import json
import math
import resource
import signal
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from unroll import runlog
from unroll.types import BadInput


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
      assert runlog.read(tmp_path / "metrics.jsonl")[-1] == record(step)
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
  assert len(runlog.read(resumed)) == killed_after + 1
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


@pytest.mark.parametrize("line", [b"[1]", b"loss 2.3", b'{"loss": 1}', b"", b"\xff"])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
  path = write(tmp_path, 0, range(3))
  lines = path.read_bytes().splitlines()
  path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]) + b"\n")
  before = path.read_bytes()
  for reader in (lambda: runlog.read(path), lambda: runlog.RunLog(tmp_path, 1)):
    with pytest.raises(BadInput, match=r"metrics\.jsonl, line 2: "):
      reader()
  assert path.read_bytes() == before


def test_a_record_without_a_step_is_not_written(tmp_path):
  with runlog.RunLog(tmp_path) as log, pytest.raises(KeyError, match="step"):
    log.write({"loss": 1.0})
  assert runlog.read(tmp_path / "metrics.jsonl") == []


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
  found = runlog.read(tmp_path / "metrics.jsonl")
  assert len(found) > 10
  assert found == [record(step) for step in range(len(found))]
