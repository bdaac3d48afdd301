"""Two processes that train one model: as one would, and they end together."""

import fcntl
import itertools
import json
import os
import random
import resource
import signal
import socket
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import Command, run
from orbax.checkpoint import v1 as ocp

from unroll import gradients
from unroll.data.batches import Lanes, Windows

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "Spain"]
TINY = [
  *("--corpus=book.txt", "--hidden=8", "--layers=1", "--embedding=4", "--batch=4"),
  *("--devices=1", "--truncation=random:8", "--steps=23", "--eval_every=7"),
  *("--checkpoint_every=5", "--dispatch=4", "--length=10", "--dropout=0.3", "--json"),
]
TIMES = {"seconds", "start_seconds", "tokens_per_second"}


@pytest.fixture
def folder(tmp_path):
  draw = random.Random(0)
  text = "".join(draw.choice(WORDS) + draw.choice("  ,.\n") for _ in range(600))
  (tmp_path / "book.txt").write_text(text, "utf-8")
  return tmp_path


def free_port():
  with socket.create_server(("127.0.0.1", 0)) as free:
    return free.getsockname()[1]


def both(cwd, module, *argv, first=(None, None)):
  """How two processes of a gang end."""
  gang = (f"--coordinator=127.0.0.1:{free_port()}", "--processes=2")
  commands = [
    Command(cwd, module, *argv, *gang, f"--process={own}", first=first[own])
    for own in range(2)
  ]
  return [command.wait() for command in commands]


def records(workdir):
  """The lines of the log, but for the times."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  stripped = ({k: v for k, v in json.loads(x).items() if k not in TIMES} for x in lines)
  return [record for record in stripped if record.keys() > {"step"}]


def leaves(workdir):
  steps = [int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*")]
  return ocp.load(workdir / "checkpoints" / str(max(steps)))


def close_runs(a, b):
  """Asserts the same log and the same state, but for the rounding of sums."""
  for one, other in zip(records(a), records(b), strict=True):
    assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
  one, other = leaves(a), leaves(b)
  assert one.keys() == other.keys()
  for name, array in one.items():
    np.testing.assert_allclose(array, other[name], atol=1e-4, err_msg=name)


def interrupt(vote):
  """Sends this process alone a SIGTERM at a vote."""
  from experiments.session import gang

  cast, count = gang._Votes.cast, itertools.count(1)

  def counted(self, *control):
    if next(count) == vote:
      signal.raise_signal(signal.SIGTERM)
    return cast(self, *control)

  gang._Votes.cast = counted


@pytest.mark.parametrize("processes", [1, 2])
def test_one_of_several_cannot_be_asked_too_late(monkeypatch, processes):
  from experiments.session import gang, terminal

  monkeypatch.setattr(gang, "_count", processes)
  before = signal.getsignal(signal.SIGINT)
  try:
    with terminal.interrupts():
      pass
    after = signal.getsignal(signal.SIGINT)
  finally:
    signal.signal(signal.SIGINT, before)
  assert after == (before if processes == 1 else signal.SIG_IGN)


def interrupt_late():
  """Sends this process a SIGINT when it has been trained."""
  from experiments.session import conclusion

  page = conclusion.page

  def paged(*arguments, **options):
    signal.raise_signal(signal.SIGINT)
    page(*arguments, **options)

  conclusion.page = paged


@pytest.mark.integration
def test_two_processes_train_as_one(folder):
  """Where one of them is asked to stop, both do; and one process goes on.

  What asks the other one only after that asks for nothing more.
  """
  whole = run(folder, "charlm", *TINY, "--workdir=whole")
  assert whole.code == 0, whole.err
  stop = (interrupt_late, partial(interrupt, 4))
  one, other = both(folder, "charlm", *TINY, "--workdir=cut", first=stop)
  assert (one.code, other.code) == (0, 0), one.err + other.err
  assert not one.json["finished"] and "interrupted" in one.err
  assert other.out == "" and "interrupted" not in other.err
  assert 5 <= one.json["steps"] < 20
  on = run(folder, "charlm", *TINY, "--workdir=cut")
  assert on.code == 0 and f"resumed cut at step {one.json['steps']}" in on.err
  close_runs(folder / "whole", folder / "cut")


@pytest.mark.integration
@pytest.mark.parametrize(
  "module, flags",
  [
    ("charlm", ["--truncation=tbptt:4,8", "--layers=2", "--ema=0.9", "--devices=1"]),
    ("charlm", ["--truncation=tbptt:8", "--partition=random", "--batch=6"]),
    ("cloze", ["--truncation=tbptt:8", "--eval_window=8"]),
  ],
)
def test_two_processes_end_as_one(folder, module, flags):
  flags = [*TINY, *flags] if module == "charlm" else [*TINY[:-3], "--json", *flags]
  alone = run(folder, module, *flags, "--workdir=one")
  assert alone.code == 0, alone.err
  one, other = both(folder, module, *flags, "--workdir=two")
  assert (one.code, other.code) == (0, 0), one.err + other.err
  close_runs(folder / "one", folder / "two")
  assert one.json["finished"] and one.json["tokens"] == alone.json["tokens"]
  # And two go on where one was.
  again = both(folder, module, *flags, "--workdir=one")
  assert [done.code for done in again] == [0, 0]
  assert again[0].json["steps"] == alone.json["steps"]


@pytest.mark.integration
def test_minutes_end_for_both(folder):
  one, other = both(folder, "charlm", *TINY[:-9], "--minutes=0.4", "--workdir=run")
  assert (one.code, other.code) == (0, 0), one.err + other.err
  assert "validation" in one.out


def die(vote):
  """Ends this process alone, without a word, at a vote."""
  from experiments.session import gang

  cast, count = gang._Votes.cast, itertools.count(1)

  def counted(self, *control):
    if next(count) == vote:
      os.kill(os.getpid(), signal.SIGKILL)
    return cast(self, *control)

  gang._Votes.cast = counted


def fill_disk():
  """No file may grow any more: what a full disk does to a write."""
  signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@pytest.mark.integration
@pytest.mark.parametrize("victim", [0, 1])
def test_who_loses_the_other_ends_too(folder, victim):
  first = [None, None]
  first[victim] = partial(die, 4)
  ended = both(folder, "charlm", *TINY, "--workdir=run", first=first)
  assert ended[victim].code == -signal.SIGKILL
  # Unless the service of JAX has been quicker to abort it.
  assert ended[1 - victim].code in (os.EX_TEMPFAIL, -signal.SIGABRT)


@pytest.mark.integration
def test_an_error_of_one_ends_both(folder):
  first = (fill_disk, None)
  one, other = both(folder, "charlm", *TINY, "--workdir=run", first=first)
  assert one.code == 2 and "File too large" in one.err, one.err
  assert other.code in (2, os.EX_TEMPFAIL, -signal.SIGABRT)


def listening(port):
  """The addresses, as Linux writes them, where someone listens on a port."""
  lines = [
    line.split()
    for name in ("tcp", "tcp6")
    for line in Path("/proc/net", name).read_text().splitlines()[1:]
  ]
  ends = [words[1].split(":") for words in lines if words[3] == "0A"]
  return [address for address, own in ends if int(own, 16) == port]


def test_who_is_on_another_machine_reaches_no_coordinator(folder):
  port = free_port()
  gang = (f"--coordinator=127.0.0.1:{port}", "--processes=2", "--process=0")
  alone = Command(folder, "charlm", *TINY, *gang)
  deadline = time.monotonic() + 60
  while not (found := listening(port)) and time.monotonic() < deadline:
    time.sleep(0.05)
  alone.process.terminate()
  assert alone.wait().code == -signal.SIGTERM
  loopback = ("0100007F", "0000000000000000FFFF00000100007F")
  assert found and all(address in loopback for address in found)


def terminated_early():
  """Sends this process a SIGTERM before it trains, and gives it time to heed that."""
  from experiments.parts import text

  def load(*_):
    signal.raise_signal(signal.SIGTERM)
    time.sleep(5)

  text.load = load


@pytest.mark.integration
def test_sigterm_ends_one_that_starts(folder):
  ended = both(folder, "charlm", *TINY, "--workdir=run", first=(None, terminated_early))
  assert ended[1].code == -signal.SIGTERM
  assert ended[0].code in (os.EX_TEMPFAIL, -signal.SIGABRT)


def test_what_one_refuses_both_refuse(folder):
  (folder / "mine").mkdir()
  (folder / "mine" / "diary.txt").touch()
  began = time.monotonic()
  for done in both(folder, "charlm", *TINY, "--workdir=mine"):
    assert done.code == 2 and "error: --workdir=mine holds diary.txt" in done.err
  assert time.monotonic() - began < 60
  assert [path.name for path in (folder / "mine").iterdir()] == ["diary.txt"]


REFUSED = [
  (["--processes=2", "--process=2"], "--process=2"),
  (["--process=1"], "--process=1"),
  (["--processes=0"], "--processes=0"),
  (["--processes=2"], "--coordinator="),
  (["--processes=2", "--coordinator=here"], "--coordinator=here"),
  (["--processes=2", "--coordinator=h:1", "--mode=sample"], "--mode=sample"),
]


@pytest.mark.parametrize("flags, words", REFUSED)
def test_refused(folder, flags, words):
  done = run(folder, "charlm", *TINY, "--workdir=run", *flags)
  lines = done.err.splitlines()
  assert done.code == 2 and len(lines) == 1 and words in lines[0], done.err


def test_a_folder_in_use_is_refused_for_now(folder):
  (folder / "run").mkdir()
  with open(folder / "run" / ".lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    done = run(folder, "charlm", *TINY, "--workdir=run")
  assert done.code == os.EX_TEMPFAIL
  assert done.err.startswith("error: --workdir=run is being trained in by another")
  assert [path.name for path in (folder / "run").iterdir()] == [".lock"]


def test_a_lock_that_is_a_link_is_refused(folder):
  (folder / "run").mkdir()
  (folder / "run" / ".lock").symlink_to(folder / "elsewhere")
  done = run(folder, "charlm", *TINY, "--workdir=run")
  assert done.code == 2 and done.err.startswith("error: ") and "run/.lock" in done.err
  assert done.err.count("\n") == 1 and not (folder / "elsewhere").exists()


SOURCES = {
  "lanes": partial(Lanes, length=5),
  "overlapping": partial(Lanes, length=3, overlap=2),
  "drawn": partial(
    Lanes,
    length=28,
    lengths=lambda epoch: gradients.named_scheme("random:8").chunks.lengths(
      np.random.default_rng(epoch), 60
    ),
  ),
  "windows": partial(Windows, length=5, seed=3),
  "in order": partial(Windows, length=5, stride=2, shuffle=False),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_columns_are_those_of_the_whole_batch(kind):
  tokens = np.arange(6 * 50 + 4)
  whole = SOURCES[kind](tokens, 6)
  parts = [SOURCES[kind](tokens, 6, columns=slice(i, i + 2)) for i in (0, 2, 4)]
  for step in range(2 * len(whole)):
    joined = jax.tree.map(
      lambda *leaves: np.concatenate(leaves, 1), *(part[step] for part in parts)
    )
    jax.tree.map(np.testing.assert_array_equal, joined, whole[step])
  assert {len(part) for part in parts} == {len(whole)}
  assert len({repr(source) for source in (whole, *parts)}) == 4
