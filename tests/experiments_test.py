"""The experiments, as a user calls them: real processes, and the files they leave."""

import contextlib
import itertools
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from commands import Command, run, shared
from same import TIMES, leaves, records, same_run, steps_of

from unroll import devices

ROOT = Path(__file__).parents[1]
TINY = [
  *("--corpus=book.txt", "--hidden=16", "--embedding=8", "--batch=4"),
  *("--truncation=tbptt:8", "--steps=23", "--eval_every=7", "--checkpoint_every=5"),
  *("--dispatch=4", "--length=30"),
]
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "Spain"]


def book(words=1200):
  draw = random.Random(0)
  return "".join(draw.choice(WORDS) + draw.choice("  ,.\n") for _ in range(words))


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "book.txt").write_text(book(), "utf-8")
  return tmp_path


def environment():
  """What an interpreter of its own is to find."""
  return os.environ | {
    "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": shared("compiled").name,
  }


def python(cwd, module, *argv, **options):
  """A command in an interpreter of its own."""
  return subprocess.run(
    [sys.executable, "-m", f"experiments.{module}", *argv],
    cwd=cwd,
    env=environment(),
    capture_output=True,
    text=True,
    timeout=120,
    **options,
  )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A folder with a finished run in `run`, and what its command said."""
  folder = tmp_path_factory.mktemp("trained")
  (folder / "book.txt").write_text(book(), "utf-8")
  done = python(folder, "charlm", *TINY, "--workdir=run", "--json")
  assert done.returncode == 0, done.stderr
  return folder, done


def tree(folder):
  """All that is on disk below a folder."""
  return {
    str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
    for p in folder.rglob("*")
  }


def refused(done, *words, exit_code=2):
  """Asserts one sentence on standard error that says `words`, and the exit code."""
  code = done.returncode if hasattr(done, "returncode") else done.code
  err = done.stderr if hasattr(done, "stderr") else done.err
  lines = [line for line in err.splitlines() if line.strip()]
  assert code == exit_code and len(lines) == 1 and lines[0].startswith("error: "), err
  assert all(word in lines[0] for word in words), lines[0]


# A run and what one does with it.


def test_training_leaves_what_the_design_says(trained):
  folder, done = trained
  run = folder / "run"
  names = {path.name for path in run.iterdir()}
  events = [name for name in names if name.startswith("events.out.tfevents.")]
  assert len(events) == 1 and names - set(events) == {
    *("config.json", "vocab.json", "metrics.jsonl", "checkpoints"),
    *("curves.png", "sample.txt", "report.html", ".lock"),
  }
  assert steps_of(run) == [20, 21, 23]
  config = json.loads((run / "config.json").read_text())
  assert config["flags"]["hidden"] == [16] and config["flags"]["seed"] == 0
  assert config["versions"].keys() >= {"jax", "python"} and len(config["data"]) == 64
  assert (run / "sample.txt").read_text() in done.stdout
  assert "Traceback" not in done.stderr


def test_the_last_line_is_a_summary(trained):
  folder, done = trained
  summary = json.loads(done.stdout.splitlines()[-1])
  assert summary["steps"] == 23 and summary["workdir"] == "run"
  assert summary["tokens"] == 23 * 4 * 8 and summary["skipped"] == 0
  assert summary["seconds"] > 0 and summary["tokens_per_second"] > 0
  arrays = leaves(folder / "run")
  params = [a.size for name, a in arrays.items() if name.startswith(".params")]
  assert params and summary["parameters"] == sum(params)
  log = records(folder / "run")
  losses = [record["train/loss"] for record in log if "train/loss" in record]
  assert [r["step"] for r in log if "train/loss" in r] == [*range(1, 24)]
  assert summary["train/loss"] == pytest.approx(np.mean(losses))
  evaluations = {r["step"]: r for r in log if "val/loss" in r}
  assert [*evaluations] == [7, 14, 21, 23]
  assert evaluations[23]["val/loss"] < evaluations[7]["val/loss"] - 0.02
  for name in ("loss_streamed", "loss_windowed", "bits_per_char", "perplexity"):
    assert summary[f"val/{name}"] == evaluations[23][f"val/{name}"]
  loss = summary["val/loss_streamed"]
  assert summary["val/bits_per_char"] == pytest.approx(loss / math.log(2))
  assert summary["val/perplexity"] == pytest.approx(math.exp(loss))


def test_evaluation(trained):
  folder, done = trained
  summary = json.loads(done.stdout.splitlines()[-1])
  before = tree(folder)
  found = run(folder, "charlm", "--mode=eval", "--workdir=run", "--json")
  assert found.code == 0 and found.json["step"] == 23
  for name, value in summary.items():
    if name.startswith("val/"):
      assert found.json[name] == pytest.approx(value, rel=1e-6)
  assert tree(folder) == before


@pytest.mark.parametrize(
  "flags",
  [
    ["--temperature=0", "--prompt=the "],
    ["--temperature=0.5", "--top_k=3", "--top_p=0.9", "--samples=3", "--stop= "],
  ],
)
def test_samples(trained, flags):
  folder, _ = trained
  flags = ["--mode=sample", "--workdir=run", "--json", "--length=40", *flags]
  done, again = run(folder, "charlm", *flags), run(folder, "charlm", *flags)
  assert done.code == 0 and done.out == again.out
  samples = done.json["samples"]
  assert "\n---\n".join(s.strip("\n") for s in samples) in done.out
  if "--samples=3" in flags:
    assert len(samples) == 3
    # A sample goes on from a line break, ends with its first blank or after 40.
    for sample in samples:
      assert " " not in sample[1:-1] and (sample[-1] == " " or len(sample) == 41)
  else:
    assert samples[0].startswith("the ") and len(samples[0]) == 44
  assert set("".join(samples)) <= set(book())


LINES = {  # as they stand in a file -> as they stand in a row
  "the quick fox": "the quick fox",
  "": "",
  "xof\x0ckciuq\u2028eht\x85 a\rb\tc": "xof\\x0ckciuq\\u2028eht\\x85 a\\rb\\tc",
  " ": " ",
  "\ufeffSpain": "\ufeffSpain",
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_scores(trained, end):
  folder, _ = trained
  lines = [*LINES]
  flags = ["--mode=score", "--workdir=run", "--json"]
  content = "\ufeff" + end.join(lines) + end
  (folder / "lines.txt").write_bytes(content.encode())
  done = run(folder, "charlm", *flags, "--input=lines.txt")
  assert done.code == 0 and not done.err, done.err
  results = done.json["sentences"]
  assert [r["text"] for r in results] == lines
  assert [r["tokens"] for r in results] == [len(line) for line in lines]
  for r in results:
    if r["tokens"]:
      mean = r["log_prob"] / r["tokens"]
      assert r["perplexity"] == pytest.approx(math.exp(-mean))
    else:
      assert r["log_prob"] == 0 and r["perplexity"] is None
  head, *rows, last = done.out.splitlines()
  assert head.split("\t") == ["log_prob", "tokens", "perplexity", "text"]
  assert [row.split("\t")[3] for row in rows] == [*LINES.values()]
  assert rows[1] == "0.0000\t0\tnan\t" and last.startswith("{")
  piped = run(folder, "charlm", *flags, stdin=lines[2].encode())
  [alone] = piped.json["sentences"]
  assert alone["log_prob"] == pytest.approx(results[2]["log_prob"], rel=1e-4)


@pytest.mark.slow
def test_words_and_their_gaps(folder):
  """A blank line, and what has no word, under tokens that are no characters."""
  flags = [*TINY, "--layers=1", "--steps=2", "--tokenizer=word", "--normalize=letters"]
  done = run(folder, "charlm", *flags, "--workdir=run", "--json")
  assert done.code == 0 and done.json["finished"], done.err
  flags = ["--workdir=run", "--json"]
  piped = run(
    folder, "charlm", "--mode=score", *flags, stdin=b"Spain\n\n \n?!\nthe fox"
  )
  assert piped.code == 0 and not piped.err, piped.err
  assert [r["tokens"] for r in piped.json["sentences"]] == [1, 0, 0, 0, 2]
  for flag in ("--prompt= ", "--stop=?!"):
    refused(run(folder, "charlm", "--mode=sample", *flags, flag), flag[:7], "word")
  flags = [*TINY[:-1], "--layers=1", "--steps=2", "--tokenizer=word", "--workdir=cloze"]
  assert run(folder, "cloze", *flags).code == 0
  fill = ["--mode=fill", "--workdir=cloze", "--text=the _, quick _ fox", "--json"]
  filled = run(folder, "cloze", *fill)
  assert filled.code == 0, filled.err
  assert re.fullmatch(r"the (\w+|[\n.,]), quick (\w+|[\n.,]) fox", filled.json["text"])


def test_a_finished_run_trains_no_more(trained):
  folder, done = trained
  before = tree(folder / "run")
  again = run(folder, "charlm", *TINY, "--workdir=run", "--json")
  assert again.code == 0 and again.json == json.loads(done.stdout.splitlines()[-1])
  after = tree(folder / "run")
  for name in ("metrics.jsonl", "config.json", "vocab.json", "sample.txt"):
    assert after[name] == before[name]


@pytest.mark.slow
def test_cloze(folder):
  flags = [*TINY[:-1], "--layers=1", "--workdir=run", "--json"]
  done = run(folder, "cloze", *flags)
  assert done.code == 0, done.err
  assert "val/loss_windowed" in done.json and "val/loss_streamed" not in done.json
  found = run(folder, "cloze", "--mode=eval", "--workdir=run", "--json")
  assert found.json["val/loss"] == pytest.approx(done.json["val/loss"], rel=1e-6)
  fill = ["--mode=fill", "--workdir=run", "--text=th_ qu_ck", "--json"]
  filled = run(folder, "cloze", *fill)
  assert filled.code == 0 and re.fullmatch("th.( qu).ck", filled.json["text"], re.S)
  refused(run(folder, "cloze", *fill[:2], "--text=the"), "--text")
  refused(run(folder, "charlm", "--mode=eval", "--workdir=run"), "experiments.cloze")


# What is shown of a run cannot end it.

FILES = {
  *("config.json", "vocab.json", "metrics.jsonl", "checkpoints", "curves.png"),
  *("sample.txt", "report.html", ".lock"),
}


def full(number):
  """Makes a standard stream one that takes nothing."""
  os.dup2(os.open("/dev/full", os.O_WRONLY), number)


def broken(number):
  """Makes a standard stream a pipe that no one reads."""
  reader, writer = os.pipe()
  os.close(reader)
  os.dup2(writer, number)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("spoil", [full, broken])
@pytest.mark.slow
def test_output_that_cannot_be_written_ends_no_training(folder, spoil, number):
  flags = [*TINY, "--layers=1", "--steps=3", "--workdir=run", "--json"]
  done = run(folder, "charlm", *flags, first=partial(spoil, number))
  assert {path.name for path in (folder / "run").iterdir()} > FILES
  assert steps_of(folder / "run") == [3]
  if number == 2:
    assert done.code == 0 and done.json["finished"]
  else:
    *lines, last = done.err.splitlines()
    assert done.code == 2 and not any("rror" in line for line in lines), done.err
    assert last.startswith("error: standard output could not be written (")


def escaped():
  """Makes standard output that of a terminal which knows ASCII only."""
  sys.stdout.reconfigure(encoding="ascii")


@pytest.mark.slow
def test_names_and_signs_that_are_strange(folder):
  (folder / "book.txt").write_text(book() + " 三國", "utf-8")
  names = ["--workdir=lr$x^$三\n", "--prompt=a\udcffé", "--layers=1", "--steps=3"]
  done = run(folder, "charlm", *TINY, *names, "--json", first=escaped)
  assert done.code == 0 and not set("EW") & set(done.err), done.err
  assert {path.name for path in (folder / "lr$x^$三\n").iterdir()} > FILES
  assert done.json["workdir"] == "lr$x^$三\n" and done.out.isascii()


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_streams_that_were_closed_are_open(tmp_path, closed):
  """So that no file takes the number of one, with what libraries print in it."""
  program = """
import sys
sys.argv[0] = "-m"
import experiments
file = open("file", "w")
assert file.fileno() > 2 and not sys.stdin.read()
for stream in (sys.stdout, sys.stderr):
  print("said", file=stream, flush=True)
"""
  spoil = "import os, sys; [os.close(int(n)) for n in sys.argv[2].split()]; "
  spoil += "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
  done = subprocess.run(
    [sys.executable, "-c", spoil, program, " ".join(map(str, closed))],
    cwd=tmp_path,
    env=environment(),
    capture_output=True,
    text=True,
    stdin=subprocess.DEVNULL,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == ("" if 1 in closed else "said\n")
  assert done.stderr == ("" if 2 in closed else "said\n")


@pytest.mark.slow
def test_a_picture_that_cannot_be_drawn_ends_no_run(folder):
  flags = [*TINY, "--layers=1", "--steps=3", "--workdir=run", "--json"]
  done = run(folder, "charlm", *flags, first=no_pictures)
  assert done.code == 0 and done.json["finished"], done.err
  for name in ("curves.png", "report.html"):
    assert f"run/{name} is missing: no ink" in done.err
  assert "Traceback" not in done.err


def no_pictures():
  from unroll.report import curves, page

  def fail(*arguments, **options):
    raise RuntimeError("no ink")

  curves.draw = page._section = fail


# Interrupted, killed, resumed.


def at(step, do):
  """Calls a function once the record of a step is written."""
  from unroll.runlog import RunLog

  write = RunLog.write

  def write_then_do(self, record):
    write(self, record)
    if record["step"] == step and "train/loss" in record:
      do()

  RunLog.write = write_then_do


def interrupt(step, number):
  """Sends this process a signal once the record of a step is written."""
  at(step, lambda: os.kill(os.getpid(), number))


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_two_signals_at_once(folder, first, second):
  flags = [*TINY, "--layers=1", "--workdir=run", "--json"]
  done = run(folder, "charlm", *flags, first=partial(hurry, first, second))
  assert "Traceback" not in done.err, done.err
  if first != second:  # each has been asked once
    assert done.code == 0 and not done.json["finished"], done.err
  elif first == signal.SIGINT:
    assert done.code == 130, done.err  # what it says is still in the full pipe
  else:
    assert done.code == -signal.SIGTERM
  whole = run(folder, "charlm", *flags)
  assert whole.code == 0 and whole.json["finished"], whole.err


def hurry(first, second):
  """Sends the second while what is said of the first is still being written."""

  def send():
    terminal = os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.set_blocking(2, False)
    with contextlib.suppress(BlockingIOError):
      while True:
        os.write(2, b" " * 4096)
    os.set_blocking(2, True)
    threading.Thread(target=read, args=(reader, terminal), daemon=True).start()
    os.kill(os.getpid(), first)

  def read(reader, terminal):
    time.sleep(0.2)
    os.kill(os.getpid(), second)
    time.sleep(0.1)
    while data := os.read(reader, 2**16):
      os.write(terminal, data.lstrip(b" "))

  at(9, send)


RESUMED = [("rnn", "random:8")]
ALSO_RESUMED = [
  *(("lstm", "full"), ("rnn", "tbptt:8"), ("gru", "tbptt:4,8"), ("lstm", "tbptt:8,4")),
  *(("gru", "random:8"), ("lstm", "random:8")),
]


@pytest.mark.slow
@pytest.mark.parametrize(
  "cell, truncation",
  [*RESUMED, *(pytest.param(*r, marks=pytest.mark.slow) for r in ALSO_RESUMED)],
)
def test_interrupted_and_resumed_is_uninterrupted(folder, cell, truncation):
  flags = [*TINY, f"--cell={cell}", f"--truncation={truncation}", "--layers=1"]
  flags += ["--dropout=0.3", "--ema=0.9", "--schedule=plateau:1,0.5", "--json"]
  whole = run(folder, "charlm", *flags, "--workdir=whole")
  assert whole.code == 0, whole.err
  for step, number in ((2, signal.SIGINT), (9, signal.SIGTERM)):
    first = partial(interrupt, step, number)
    cut = run(folder, "charlm", *flags, "--workdir=cut", first=first)
    assert cut.code == 0 and "interrupted" in cut.err, cut.err
    assert step <= cut.json["steps"] < 23
    assert steps_of(folder / "cut")[-1] == cut.json["steps"]
  # How many steps go to the device at once is not of the run.
  on = run(folder, "charlm", *flags, "--workdir=cut", "--dispatch=3")
  assert on.code == 0 and f"resumed cut at step {cut.json['steps']}" in on.err
  same_run(folder / "whole", folder / "cut")
  ignored = {*TIMES, "workdir"}
  assert {k: v for k, v in on.json.items() if k not in ignored} == {
    k: v for k, v in whole.json.items() if k not in ignored
  }
  assert on.out.splitlines()[:-1] == whole.out.splitlines()[:-1]


@pytest.mark.slow
def test_ctrl_c(folder):
  """In an interpreter of its own, from outside, twice on the way."""
  flags = [*TINY, "--steps=400"]
  whole = run(folder, "charlm", *flags, "--workdir=whole")
  assert whole.code == 0, whole.err
  command = [sys.executable, "-m", "experiments.charlm", *flags, "--workdir=cut"]
  for session, number in enumerate((signal.SIGINT, signal.SIGTERM), 1):
    process = subprocess.Popen(
      command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    )
    while not training(folder / "cut", session):
      assert process.poll() is None
      time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "Traceback" not in err, err
    assert "interrupted; the same command with --workdir=cut goes on" in err
  assert run(folder, "charlm", *flags, "--workdir=cut").code == 0
  same_run(folder / "whole", folder / "cut")


@pytest.mark.slow
def test_the_average_is_what_is_evaluated_and_used(folder):
  flags = [*TINY, "--layers=1", "--json"]
  plain = run(folder, "charlm", *flags, "--workdir=plain")
  done = run(folder, "charlm", *flags, "--workdir=ema", "--ema=0.9")
  found = run(folder, "charlm", "--mode=eval", "--workdir=ema", "--json")
  assert done.json["train/loss"] == plain.json["train/loss"]
  assert done.json["val/loss"] > plain.json["val/loss"] + 0.001  # it lags behind
  assert found.json["val/loss"] == pytest.approx(done.json["val/loss"], rel=1e-6)


@pytest.mark.slow
def test_a_split_is_evaluated_in_order(folder):
  flags = [*TINY, "--layers=1", "--dropout=0.2", "--json"]
  flags += ["--activation_penalty=2", "--temporal_penalty=1", "--asgd=1"]
  done = run(folder, "charlm", *flags, "--workdir=run")

  def found(*flags):
    return run(folder, "charlm", "--mode=eval", "--workdir=run", "--json", *flags).json

  plain = found()["val/loss"]
  assert plain == pytest.approx(done.json["val/loss"], rel=1e-6)
  assert found("--dynamic_rate=0.5", "--eval_steps=8")["val/loss"] < plain
  ways = ("--cache=20", "--dropout_draws=2", "--eval_streams=3")
  assert len({plain, *(found(way)["val/loss"] for way in ways)}) == 4
  refused = run(folder, "charlm", "--mode=eval", "--workdir=run", "--cache=2147483647")
  assert refused.code == 2 and "--cache=2147483647" in refused.err, refused.err


@pytest.mark.slow
def test_killed_at_any_moment(folder):
  flags = [*TINY, "--steps=1000", "--ema=0.9", "--dropout=0.2", "--layers=1"]
  whole = run(folder, "charlm", *flags, "--workdir=whole")
  assert whole.code == 0, whole.err
  moments = []
  for number in range(6):
    command = Command(folder, "charlm", *flags, "--workdir=cut")
    while not training(folder / "cut", sessions=number + 1):
      assert command.process.is_alive(), command.wait()
      time.sleep(0.01)
    time.sleep(random.uniform(0, 1))
    command.process.kill()
    done = command.wait()
    assert done.code == -signal.SIGKILL, (moments, done)
    partial_ones = [*(folder / "cut" / "checkpoints").glob(".partial/*")]
    saved = steps_of(folder / "cut")[-1:]
    moments.append((records(folder / "cut")[-1]["step"], saved, len(partial_ones)))
  print("killed at (step, last checkpoint, half written):", moments)
  on = run(folder, "charlm", *flags, "--workdir=cut")
  assert on.code == 0, on.err
  same_run(folder / "whole", folder / "cut")


def training(workdir, sessions):
  """Whether the newest of so many sessions has written its first record."""
  events = sorted(workdir.glob("events.out.tfevents.*"))
  return len(events) == sessions and events[-1].stat().st_size > 150


def note_what_is_saved():
  """Says on standard error what reaches the disk, in its order."""
  from unroll.checkpoint import Checkpoints
  from unroll.runlog import RunLog

  save, sync = Checkpoints.save, RunLog.sync

  def saved(self, step, *arguments, **options):
    print(f"saved {step}", file=sys.stderr)
    save(self, step, *arguments, **options)

  def synced(self):
    last = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])
    print(f"synced {last['step']}", file=sys.stderr)
    sync(self)

  Checkpoints.save, RunLog.sync = saved, synced


@pytest.mark.slow
def test_no_checkpoint_is_ahead_of_the_log(folder):
  done = run(folder, "charlm", *TINY, "--workdir=run", first=note_what_is_saved)
  order = [x for x in done.err.splitlines() if x.startswith(("saved ", "synced "))]
  steps = [line.split()[1] for line in order if line.startswith("saved")]
  assert len(steps) > 4
  assert order == [line for s in steps for line in (f"synced {s}", f"saved {s}")]


@pytest.mark.slow
def test_a_log_that_has_lost_lines_is_said_and_the_run_goes_on(trained, folder):
  shutil.copytree(trained[0] / "run", folder / "run")
  log = folder / "run" / "metrics.jsonl"
  lines = log.read_bytes().splitlines(True)
  lost = [i for i, x in enumerate(lines) if json.loads(x).get("train/loss")][9:12]
  lines[lost[0]] = b'{"step": 10, "train/loss": "4.1"}\n'
  lines[lost[1]] = b"\0" * 100 + b"\n"
  del lines[lost[2]]
  log.write_bytes(b"".join(lines))
  done = run(folder, "charlm", *TINY, "--workdir=run")
  assert done.code == 0 and "Traceback" not in done.err, done.err
  first = f"run/metrics.jsonl: 2 lines, the first of them {lost[0] + 1}, are damaged"
  assert first in done.err and done.err.count("metrics.jsonl:") == 1
  assert "lacks the lines of 3 of 23 steps, the first is step 10" in done.err
  assert (folder / "run" / "metrics.jsonl.damaged").exists()
  again = run(folder, "charlm", *TINY, "--workdir=run")
  assert "damaged" not in again.err and "3 of 23 steps" in again.err
  again = run(folder, "charlm", *TINY, "--steps=1", "--workdir=run", "--overwrite")
  assert again.code == 0 and not (folder / "run" / "metrics.jsonl.damaged").exists()


def test_a_run_whose_folder_goes_ends_within_seconds(folder):
  endless = ["--steps=1000000", "--eval_every=1000000", "--checkpoint_every=1000000"]
  command = Command(folder, "charlm", *TINY, *endless, "--workdir=run")
  while not training(folder / "run", sessions=1):
    assert command.process.is_alive(), command.wait()
    time.sleep(0.01)
  (folder / "run").rename(folder / "moved")
  began = time.monotonic()
  done = command.wait()
  assert done.code == 2 and "Traceback" not in done.err, done.err
  assert done.err.splitlines()[-1].startswith("error: ") and "is gone" in done.err
  assert time.monotonic() - began < 30


def unsteady_clock():
  """Has the clock of the day jump: years ahead, and back behind the start."""
  now, calls = time.time(), itertools.count()
  jumps = [0.0] * 60 + [3e8] * 60
  time.time = lambda: now + next(iter(jumps[next(calls) :]), -3e8)
  time.time_ns = lambda: int(time.time() * 1e9)


@pytest.mark.slow
def test_a_clock_that_is_set_ends_no_run(folder):
  flags = [*TINY, "--minutes=60", "--workdir=run", "--json"]
  done = run(folder, "charlm", *flags, first=unsteady_clock)
  assert done.code == 0 and done.json["finished"], done.err
  assert done.json["steps"] == 23 and 0 < done.json["seconds"] < 600


@pytest.mark.skipif(devices.cores() < 2, reason="needs two cores")
@pytest.mark.slow
def test_a_run_of_two_devices_is_used_on_one(folder):
  done = run(folder, "charlm", *TINY, "--devices=2", "--workdir=run", "--json")
  assert done.code == 0, done.err
  found = run(folder, "charlm", "--mode=eval", "--devices=1", "--workdir=run", "--json")
  assert found.json["val/loss"] == pytest.approx(done.json["val/loss"], rel=1e-5)
  drawn = run(
    folder, "charlm", "--mode=sample", "--workdir=run", "--length=9", "--json"
  )
  assert drawn.code == 0 and len(drawn.json["samples"][0]) == 1 + 9, drawn.err


def test_interrupted_before_training(folder):
  before = tree(folder)
  done = run(folder, "charlm", *TINY, first=interrupt_loading)
  refused(done, "interrupted", exit_code=130)
  assert tree(folder) == before


def test_interrupted_while_importing(folder):
  command = [sys.executable, "-X", "importtime", "-m", "experiments.charlm", *TINY]
  # A shell has its background jobs ignore it, and so all that they start.
  heed = "signal.signal(signal.SIGINT, signal.SIG_DFL)"
  heeding = f"import os, signal, sys; {heed}; os.execv(sys.argv[1], sys.argv[1:])"
  process = subprocess.Popen(
    [sys.executable, "-c", heeding, *command],
    cwd=folder,
    env=environment(),
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stderr
  while not process.stderr.readline().rstrip().endswith("| experiments"):
    pass
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=60)
  assert process.returncode == -signal.SIGINT and "Traceback" not in err, err


def interrupt_loading():
  from unroll.data import corpora

  corpora.load = lambda *arguments: signal.raise_signal(signal.SIGINT)


# Longer, with another seed, from another checkpoint, with the text elsewhere.


def config(workdir):
  return json.loads((workdir / "config.json").read_text())


@pytest.mark.slow
def test_the_same_run_goes_on_when_more_is_asked(copy):
  """As one does that was asked for all of it at once, and both values are kept."""
  more = ["--steps=35", "--epochs=4", "--minutes=9", "--patience=99", "--eval_every=10"]
  more += ["--checkpoint_every=9", "--keep=1", "--json"]
  on = run(copy, "charlm", *TINY, *more, "--workdir=run")
  assert on.code == 0 and on.json["steps"] == 35 and on.json["finished"], on.err
  assert "--steps=35, not --steps=23" in on.err and "no --minutes" in on.err
  whole = run(copy, "charlm", *TINY, *more, "--workdir=whole")
  assert whole.code == 0, whole.err
  one, other = leaves(copy / "run"), leaves(copy / "whole")
  for name, array in other.items():
    np.testing.assert_array_equal(one[name], array, err_msg=name, strict=True)
  before = {"steps": 23, "epochs": None, "minutes": None, "patience": 0}
  before |= {"eval_every": 7, "checkpoint_every": 5}
  history = config(copy / "run").pop("history")
  assert history == [{"until_step": 23, "flags": before}]
  assert config(copy / "run")["flags"] == config(copy / "whole")["flags"]
  # And with less it is at its end.
  less = run(copy, "charlm", *TINY, "--steps=9", "--workdir=run", "--json")
  assert less.code == 0 and less.json["steps"] == 35 and less.json["finished"]
  assert "end at step 9" in less.err
  assert [h["until_step"] for h in config(copy / "run")["history"]] == [23, 35]


@pytest.mark.slow
def test_a_schedule_that_ends_with_the_run_says_how_it_goes_on(folder):
  flags = [*TINY, "--layers=1", "--workdir=run", "--schedule=linear", "--steps=8"]
  first = run(folder, "charlm", *flags)
  assert first.code == 0 and "schedule" not in first.err, first.err
  on = run(folder, "charlm", *flags, "--steps=16")
  assert on.code == 0 and "--schedule=linear falls until the new end" in on.err
  assert "step 16" in on.err and "0.5 of its highest" in on.err
  rates = {
    r["step"]: r["learning_rate"] for r in records(folder / "run") if "grad_norm" in r
  }
  assert rates[8] == pytest.approx(2e-3 / 8)
  assert rates[9] == pytest.approx(1e-3) and rates[16] == pytest.approx(2e-3 / 16)


@pytest.mark.slow
def test_samples_with_another_seed(trained):
  folder, _ = trained
  sample = ["--mode=sample", "--workdir=run", "--json"]
  drawn = [run(folder, "charlm", *sample, *more) for more in ([], ["--seed=7"])]
  assert drawn[0].json["samples"] != drawn[1].json["samples"]
  assert drawn[1].out == run(folder, "charlm", *sample, "--seed=7").out
  refused(run(folder, "charlm", "--mode=eval", "--workdir=run", "--seed=7"), "--seed=7")


def test_a_checkpoint_of_a_step(trained):
  folder, _ = trained
  evaluate = ["--mode=eval", "--workdir=run", "--json"]
  logged = {r["step"]: r for r in records(folder / "run") if "val/loss" in r}
  found = run(folder, "charlm", *evaluate, "--checkpoint=21")
  assert found.code == 0 and found.json["step"] == 21
  assert found.json["val/loss"] == pytest.approx(logged[21]["val/loss"], rel=1e-6)
  missing = run(folder, "charlm", *evaluate, "--checkpoint=7")
  refused(missing, "--checkpoint=7", "20, 21, 23")


@pytest.mark.slow
def test_a_run_that_was_never_evaluated_is_used_as_it_is(folder):
  cut = run(
    *(folder, "charlm", *TINY, "--eval_every=100", "--workdir=run"),
    first=partial(interrupt, 2, signal.SIGINT),
  )
  assert cut.code == 0 and "interrupted" in cut.err, cut.err
  newest = steps_of(folder / "run")[-1]
  for mode in ("eval", "sample"):
    done = run(folder, "charlm", f"--mode={mode}", "--workdir=run", "--json")
    assert done.code == 0, done.err
    assert done.err.count(f"newest, of step {newest}") == 1
  refused(
    run(folder, "charlm", "--mode=eval", "--workdir=run", "--checkpoint=99"), "99"
  )


@pytest.mark.slow
def test_a_text_that_has_moved(copy):
  (copy / "texts").mkdir()
  (copy / "book.txt").rename(copy / "texts" / "moved.txt")
  (copy / "other.txt").write_text(book() + "!")
  uses = {"train": TINY, "eval": [], "sample": [], "score": []}
  for mode, flags in uses.items():
    flags = [*flags, "--workdir=run", f"--mode={mode}", "--corpus=texts/moved.txt"]
    done = run(copy, "charlm", *flags, stdin=b"the dog")
    assert done.code == 0, done.err
    other = run(copy, "charlm", *flags, "--corpus=other.txt", stdin=b"the dog")
    refused(other, "--corpus", "other.txt")
  assert config(copy / "run")["flags"]["corpus"] == "texts/moved.txt"
  [held] = config(copy / "run")["history"]
  assert held == {"until_step": 23, "flags": {"corpus": "book.txt"}}
  evaluated = run(copy, "charlm", "--mode=eval", "--workdir=run")
  assert evaluated.code == 0, evaluated.err


def home(path):
  os.environ["HOME"] = str(path)


@pytest.mark.slow
def test_a_home_is_written_with_a_tilde(trained, folder):
  (folder / "home").mkdir()
  shutil.copytree(trained[0] / "run", folder / "home" / "run")
  (folder / "book.txt").rename(folder / "home" / "book.txt")
  (folder / "home" / "lines.txt").write_text("the dog")
  before = [p for p in tree(folder) if not p.startswith("home")]
  at_home = {"first": partial(home, folder / "home")}
  flags = ["--workdir=~/run", "--corpus=~/book.txt"]
  on = run(folder, "charlm", *TINY, *flags, **at_home)
  assert on.code == 0 and "resumed" in on.err, on.err
  score = ["--mode=score", "--input=~/lines.txt", "--workdir=~/run", "--json"]
  scored = run(folder, "charlm", *score, **at_home)
  assert scored.code == 0 and scored.json["sentences"][0]["text"] == "the dog"
  assert [p for p in tree(folder) if not p.startswith("home")] == before
  nowhere = run(folder, "charlm", *TINY, "--workdir=~nobody-here/run", **at_home)
  refused(nowhere, "--workdir=~nobody-here/run", "./~nobody-here/run")


# What a run is stands in its folder twice.


@pytest.mark.slow
def test_a_folder_without_its_configuration_is_refused(copy):
  (copy / "run" / "config.json").unlink()
  before = tree(copy)
  words = ("--workdir=run", "step 23", "config.json", "--steps=0", "--overwrite")
  for flags in (TINY, [*TINY, "--hidden=8"], ["--mode=eval"], ["--mode=sample"]):
    refused(run(copy, "charlm", *flags, "--workdir=run"), *words)
  assert tree(copy) == before
  # As the sentence says: the run's own command writes it in a new folder.
  for flags, there in ((TINY, "again"), ([*TINY, "--seed=1"], "another")):
    made = run(copy, "charlm", *flags, "--steps=0", f"--workdir={there}")
    assert made.code == 0, made.err
  shutil.copy(copy / "another" / "config.json", copy / "run")
  another = run(copy, "charlm", *TINY, "--seed=1", "--workdir=run")
  refused(another, "checkpoint 23", "--seed (there 0, here 1)")
  seen = run(copy, "charlm", "--mode=eval", "--workdir=run")
  refused(seen, "config.json", "checkpoint 23", "--seed")
  shutil.copy(copy / "again" / "config.json", copy / "run")
  on = run(copy, "charlm", *TINY, "--workdir=run")
  assert on.code == 0 and "resumed run at step 23" in on.err, on.err
  (copy / "run" / "config.json").unlink()
  afresh = run(copy, "charlm", *TINY, "--workdir=run", "--steps=3", "--overwrite")
  assert afresh.code == 0 and steps_of(copy / "run") == [3], afresh.err


def without_a_name():
  """Has checkpoints say nothing of their run, as they did at first."""
  from unroll.checkpoint import Checkpoints

  start = Checkpoints.__init__
  Checkpoints.__init__ = lambda self, directory, keep, run: start(self, directory, keep)


@pytest.mark.slow
def test_a_folder_whose_checkpoints_do_not_say_of_which_run(folder):
  flags = [*TINY, "--workdir=run"]
  whole = run(folder, "charlm", *flags, "--workdir=whole")
  assert whole.code == 0, whole.err
  cut = run(folder, "charlm", *flags, "--steps=14", first=without_a_name)
  assert cut.code == 0, cut.err
  for mode in ("eval", "sample", "score"):
    use = [f"--mode={mode}", "--workdir=run"]
    used = run(folder, "charlm", *use, stdin=b"the dog")
    assert used.code == 0, used.err
  refused(run(folder, "charlm", *flags, "--hidden=8"), "--hidden")
  on = run(folder, "charlm", *flags)
  assert on.code == 0 and "resumed run at step 14" in on.err, on.err
  same_run(folder / "run", folder / "whole")


# Bad input: a sentence, and nothing written or lost.

REFUSED = [
  (["--cell=lstn"], "--cell=lstn", "lstm"),
  (["--hidden=0"], "--hidden=0"),
  (["--hidden=a"], "--hidden=a"),
  (["--hidden=16,8,4", "--layers=2"], "--hidden=16,8,4", "--layers=2"),
  (["--layers=0"], "--layers=0"),
  (["--truncation=tbptt:0"], "--truncation=tbptt:0"),
  (["--evaluate=newton", "--cell=lru"], "--evaluate=newton", "linear in the carry"),
  (["--evaluate=newton:2"], "--evaluate=newton:2", "from 0 to 1"),
  (["--truncation=foo"], "--truncation=foo", "random:K"),
  (["--truncation=random:8", "--partition=random"], "--partition"),
  (["--truncation=tbptt:99999", "--partition=random"], "window", "--truncation"),
  (["--window=99999", "--partition=random"], "error: --window=99999: ", "99999 steps"),
  (["--batch=0"], "--batch=0"),
  (["--batch=100000"], "error: --batch=100000: ", "lanes"),
  (["--corpus=missing"], "--corpus=missing", "pydoc"),
  (["--corpus=."], "--corpus", "regular file"),
  (["--corpus=empty.txt"], "empty.txt", "empty"),
  (["--corpus=five.txt"], "five.txt", "val split"),
  (["--corpus=latin.txt"], "latin.txt", "UTF-8", "--tokenizer=byte"),
  (["--workdir=book.txt/x"], "--workdir=book.txt/x", "Not a directory"),
  (["--workdir=book.txt"], "--workdir=book.txt"),
  (["--workdir=n\udcffx"], "--workdir=n", "UTF-8"),
  (["--workdir=mine"], "--workdir=mine", "diary.txt"),
  (["--workdir=mine", "--overwrite"], "--workdir=mine", "diary.txt"),
  (["--bidirectional"], "bidirectional"),
  (["--mode=sample"], "--mode=sample", "--workdir"),
  (["--mode=eval", "--workdir=mine"], "--workdir=mine", "config.json"),
  (["--mode=eval", "--workdir=nowhere"], "--workdir=nowhere", "config.json"),
  (["--mode=trian"], "--mode=trian"),
  (["--hiden=16"], "hiden", "hidden"),
  (["train"], "'train'", "--name=value"),
  (["--minutes=-1"], "--minutes=-1"),
  (["--minutes=inf"], "--minutes=inf"),
  (["--epochs=nan"], "--epochs=nan"),
  (["--dropout=1.5"], "--dropout=1.5"),
  (["--dropout=nan"], "--dropout=nan"),
  (["--split=0.5,0.6"], "--split=0.5,0.6"),
  (["--tie_embeddings"], "--tie_embeddings", "16", "8"),
  (["--ema=1"], "--ema=1"),
  (["--ema=0.5", "--asgd=3"], "--ema=0.5", "asgd"),
  (["--cache=5"], "--cache=5", "--mode=eval"),
  (["--mode=eval", "--cache_weight=0.5"], "--cache_weight=0.5", "--cache"),
  (["--mode=eval", "--cache=5", "--dropout_draws=2"], "--cache", "--dropout_draws"),
  (["--weight_noise=-1"], "--weight_noise=-1"),
  (["--carry_clip=1", "--truncation=rtrl"], "--carry_clip=1.0", "--truncation=rtrl"),
  (["--pack=ab"], "--pack='ab'", "2"),
  (["--min_count=100000"], "--min_count=100000"),
  (["--min_count=2", "--tokenizer=byte"], "--min_count=2", "--tokenizer=byte"),
  (["--corpus=one.txt"], "error: --corpus=one.txt: its train split", "has 0"),
  (["--corpus=unknown.txt", "--tokenizer=word"], "--corpus=unknown.txt", "<unk>"),
  (["--top_p=1.5"], "--top_p=1.5"),
  (["--seed=-1"], "--seed=-1"),
  (["--seed=4294967296"], "--seed=4294967296"),
  (["--clip_norm=nan"], "--clip_norm=nan"),
  (["--optimizer=adma"], "--optimizer=adma", "adam"),
  (["--schedule=cosine:2"], "--schedule=cosine:2"),
  (["--init=chrono:9", "--cell=rnn"], "--init=chrono:9", "--cell=rnn"),
  (["--forget_bias=2", "--cell=rnn"], "--forget_bias", "--cell=rnn"),
  (["--forget_bias=2", "--init=chrono:9"], "--forget_bias", "--init=chrono:9"),
  (["--steps=many"], "--steps=many"),
  # Numbers that are too large for the machine.
  (["--hidden=999999999999"], "--hidden=999999999999", "100000000"),
  (["--hidden=100000000"], "--hidden=100000000", "TiB of memory"),
  (["--hidden=9999999", "--remat=auto"], "--hidden=9999999", "TiB of memory"),
  (["--embedding=2147483647"], "--embedding=2147483647", "of memory"),
  (["--layers=2147483648"], "--layers=2147483648"),
  (["--truncation=tbptt:2147483648"], "--truncation=tbptt:2147483648"),
  (
    ["--truncation=parallel:99", "--hidden=9999"],
    "--truncation=parallel:99",
    "of memory",
  ),
  (["--truncation=tbptt:8,2147483647"], "--truncation=tbptt:8,2147483647", "of memory"),
  (["--batch=2147483647", "--partition=random"], "--batch=2147483647", "of memory"),
  (["--dispatch=2147483647"], "--dispatch=2147483647", "of memory"),
  (["--window=2147483648"], "--window=2147483648", "2147483647"),
  (["--processes=2147483648"], "--processes=2147483648", "2147483647"),
  (["--epochs=1e9"], "--epochs=1000000000.0", "2147483647"),
  (["--minutes=1e30"], "--minutes=1e+30", "2147483647"),
  (["--learning_rate=1e39"], "--learning_rate=1e39", "3e+38"),
  (["--forget_bias=-1e39"], "--forget_bias=-1e39", "from -3e+38"),
  (["--init=normal:1e39"], "--init=normal:1e39"),
  (["--schedule=step:2147483648,0.5"], "--schedule=step:2147483648,0.5"),
  (["--remat=recursive:99999"], "--remat=recursive:99999"),
  (["--memory_budget=" + 400 * "9"], "--memory_budget=999"),
  # What samples cannot have is known before training.
  (["--length=2147483648"], "--length=2147483648"),
  (["--length=2147483647", "--samples=2147483647"], "--length=2147483647", "of memory"),
  (["--samples=2147483647"], "--samples=2147483647", "of memory"),
  (["--top_k=2147483648"], "--top_k=2147483648"),
  (["--temperature=1e39"], "--temperature=1e39", "3e+38"),
  (["--temperature=1e-39"], "--temperature=1e-39"),
  (["--stop= ", "--tokenizer=word"], "--stop=' '", "--tokenizer=word"),
  (["--prompt= ", "--tokenizer=word"], "--prompt=' '", "--tokenizer=word"),
]


@pytest.mark.parametrize(
  "flags, words", [pytest.param(f, w, id=" ".join(f)) for f, *w in REFUSED]
)
def test_refused(folder, flags, words):
  (folder / "empty.txt").touch()
  (folder / "five.txt").write_text("hello")
  (folder / "one.txt").write_text("x")
  (folder / "unknown.txt").write_text("<unk> " * 500)
  (folder / "latin.txt").write_bytes("naïve ".encode("latin-1") * 500)
  (folder / "mine").mkdir()
  (folder / "mine" / "diary.txt").write_text("dear diary")
  before = tree(folder)
  refused(run(folder, "charlm", *TINY, *flags), *words)
  assert tree(folder) == before


@pytest.mark.parametrize("flags", [["--cell=lstn"], ["--dropout=1.5"], ["--hiden=16"]])
def test_refused_by_an_interpreter_of_its_own(folder, flags):
  before = tree(folder)
  refused(python(folder, "charlm", *TINY, *flags), flags[0][2:7])
  assert tree(folder) == before


def test_other_types_in_a_configuration(copy):
  path = copy / "run" / "config.json"
  whole = json.loads(path.read_text())
  path.write_text(json.dumps({**whole, "flags": {**whole["flags"], "layers": "2"}}))
  seen = run(copy, "charlm", "--workdir=run", "--mode=eval")
  refused(seen, "run/config.json", '"2" for --layers', "restore")
  refused(run(copy, "charlm", *TINY, "--workdir=run"), "run/config.json", "--layers")
  path.write_text(json.dumps({**whole, "versions": 5}))
  on = run(copy, "charlm", *TINY, "--workdir=run", "--steps=25")
  refused(on, "run/config.json", "restore")


USES_REFUSED = [
  (["--mode=train", *TINY, "--hidden=8", "--cell=gru"], "--hidden", "--cell"),
  (["--mode=train", *TINY, "--corpus=other.txt"], "--corpus (there book.txt"),
  (["--mode=eval", "--hidden=8"], "--hidden", "contradicts"),
  (["--mode=eval", "--checkpoint=oldest"], "--checkpoint=oldest"),
  (["--mode=sample", "--top_p=0"], "top_p", "0.0"),
  (["--mode=sample", "--temperature=-1"], "--temperature=-1"),
  (["--mode=sample", "--length=0"], "--length=0"),
  (["--mode=sample", "--samples=0"], "--samples=0"),
  (["--mode=score", "--input=missing.txt"], "missing.txt"),
  (["--mode=score", "--input=empty.txt"], "--input=empty.txt"),
  (["--mode=score", "--input=latin.txt"], "--input=latin.txt, line 1", "UTF-8"),
]


@pytest.fixture
def copy(trained, folder):
  """A folder with a copy of the finished run."""
  shutil.copytree(trained[0] / "run", folder / "run")
  return folder


@pytest.mark.parametrize(
  "flags, words",
  [pytest.param(f, w, id=" ".join(f[:1] + f[-1:])) for f, *w in USES_REFUSED],
)
def test_refused_on_a_run(copy, flags, words):
  (copy / "empty.txt").touch()
  (copy / "latin.txt").write_bytes("naïve ".encode("latin-1"))
  (copy / "other.txt").write_text(book() + "!")
  before = tree(copy)
  refused(run(copy, "charlm", "--workdir=run", *flags), *words)
  assert tree(copy) == before


def guarded():
  """As JAX_TRANSFER_GUARD=disallow does."""
  import jax

  jax.config.update("jax_transfer_guard", "disallow")


@pytest.mark.slow
def test_nothing_is_moved_that_is_not_told_to(folder, trained):
  """Training, sampling and scoring, where JAX moves nothing by itself."""
  disallow = partial(run, folder, first=guarded)
  flags = [*TINY, "--workdir=run"]
  cut = partial(interrupt, 9, signal.SIGINT)
  assert run(folder, "charlm", *flags, first=cut).code == 0
  done = disallow("charlm", *flags)
  assert done.code == 0, done.err
  same_run(folder / "run", trained[0] / "run")
  for mode in ("eval", "sample"):
    done = disallow("charlm", f"--mode={mode}", "--workdir=run")
    assert done.code == 0, done.err
  done = disallow("charlm", "--mode=score", "--workdir=run", stdin=b"the fox")
  assert done.code == 0, done.err
  flags = [*TINY[:-1], "--layers=1", "--steps=1", "--workdir=cloze"]
  assert disallow("cloze", *flags).code == 0
  done = disallow("cloze", "--mode=fill", "--workdir=cloze", "--text=th_ q_")
  assert done.code == 0, done.err
  arms = [{"workdir": f"arm{seed}", "flags": {"seed": seed}} for seed in (1, 2)]
  (folder / "arms.json").write_text(json.dumps(arms))
  flags = [*TINY, "--layers=1", "--steps=1", "--arms=arms.json"]
  assert disallow("charlm", *flags).code == 0


@pytest.mark.parametrize("name", ["cuda", "foo"])
def test_a_platform_that_is_not_there(trained, name):
  folder, _ = trained
  before = tree(folder)
  for flags in ([*TINY, "--workdir=new"], ["--mode=sample", "--workdir=run"]):
    done = run(folder, "charlm", *flags, first=partial(on_platform, name))
    refused(done, f"JAX_PLATFORMS={name}", "cpu")
  assert tree(folder) == before


def on_platform(name):
  """As JAX_PLATFORMS=name does."""
  import jax

  jax.config.update("jax_platforms", name)


def own_cell():
  """Registers a cell, as a user does, that has a size and no options."""
  from unroll.cells import CELLS, vanilla

  CELLS["mine"] = lambda inputs, size: vanilla(inputs, size)


@pytest.mark.slow
def test_a_cell_of_ones_own(folder):
  flags = [*TINY, "--layers=1", "--steps=1", "--cell=mine", "--workdir=run"]
  for option in ("--init=orthogonal", "--init=chrono:9", "--forget_bias=1"):
    refused(
      run(folder, "charlm", *flags, option, first=own_cell), option, "--cell=mine"
    )
  assert run(folder, "charlm", *flags, first=own_cell).code == 0
  refused(
    run(folder, "charlm", "--mode=sample", "--workdir=run"), "--cell=mine", "lstm"
  )


@pytest.mark.slow
def test_steps_without_end_end_with_the_time(folder):
  flags = [*TINY, "--layers=1", "--steps=2147483647", "--minutes=0.01", "--workdir=run"]
  done = run(folder, "charlm", *flags, "--json")
  assert done.code == 0 and done.json["finished"], done.err


def test_a_changed_text_is_another_run(copy):
  (copy / "book.txt").write_text(book() + "!")
  refused(run(copy, "charlm", *TINY, "--workdir=run"), "data of --corpus", "changed")


@pytest.mark.slow
def test_a_strange_vocabulary_is_refused_and_put_right_by_training(copy):
  path = copy / "run" / "vocab.json"
  original = path.read_text()
  vocabulary = json.loads(original)
  vocabulary["tokens"][1:3] = reversed(vocabulary["tokens"][1:3])
  path.write_text(json.dumps(vocabulary))
  for mode in ("sample", "eval"):
    refused(run(copy, "charlm", f"--mode={mode}", "--workdir=run"), "vocab.json")
  assert run(copy, "charlm", *TINY, "--workdir=run").code == 0
  assert path.read_text() == original


def damage(checkpoint, how):
  largest = max(checkpoint.rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
  data = bytearray(largest.read_bytes())
  if how == "truncated":
    data = data[: len(data) // 2]
  else:
    data[len(data) // 2] ^= 4
  largest.write_bytes(data)


@pytest.mark.slow
def test_training_that_blows_up_is_ended(folder):
  flags = [*TINY, "--layers=1", "--forget_bias=nan", "--steps=60", "--workdir=run"]
  done = run(folder, "charlm", *flags)
  assert done.code == 2 and "Traceback" not in done.err
  assert "error: 50 steps in a row up to step 50" in done.err.splitlines()[-1]
  assert [r["train/loss"] for r in records(folder / "run") if "skipped" in r][:50] == [
    None
  ] * 50


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_checkpoint_is_passed_over(copy, trained, how):
  steps = steps_of(copy / "run")
  damage(copy / "run" / "checkpoints" / str(steps[-1]), how)
  on = run(copy, "charlm", *TINY, "--workdir=run")
  assert on.code == 0 and "damaged" in on.err, on.err
  assert f"resumed run at step {steps[-2]}" in on.err
  same_run(copy / "run", trained[0] / "run")


def test_no_checkpoint_is_left(copy):
  for step in steps_of(copy / "run"):
    damage(copy / "run" / "checkpoints" / str(step), "flipped")
  done = run(copy, "charlm", "--mode=eval", "--workdir=run")
  assert done.code == 2 and "error: " in done.err
  assert "no intact checkpoint" in done.err
  shutil.rmtree(copy / "run" / "checkpoints")
  refused(run(copy, "charlm", "--mode=eval", "--workdir=run"), "no checkpoint")


def limit_files(size):
  """No file may grow beyond so many bytes: what a full disk does to a write."""
  signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.slow
def test_a_full_disk(folder, trained):
  whole = [*TINY, "--workdir=run"]
  cut = run(folder, "charlm", *whole, first=partial(interrupt, 9, signal.SIGINT))
  assert cut.code == 0, cut.err
  kept = {
    s: tree(folder / "run" / "checkpoints" / str(s)) for s in steps_of(folder / "run")
  }
  full = run(folder, "charlm", *whole, first=partial(limit_files, 4096))
  assert full.code == 2 and "Traceback" not in full.err, full.err
  assert full.err.splitlines()[-1].startswith("error: ")
  assert "File too large" in full.err
  for step, before in kept.items():
    assert tree(folder / "run" / "checkpoints" / str(step)) == before
  # Once there is room again the same command goes on.
  assert run(folder, "charlm", *whole).code == 0
  same_run(folder / "run", trained[0] / "run")


def test_a_full_disk_from_the_start(folder):
  done = run(folder, "charlm", *TINY, "--workdir=run", first=partial(limit_files, 100))
  refused(done, "File too large")
  assert run(folder, "charlm", *TINY, "--workdir=run").code == 0


@pytest.mark.slow
def test_bytes_that_are_not_text(folder):
  (folder / "book.txt").write_bytes(os.urandom(4000))
  flags = [*TINY, "--tokenizer=byte", "--workdir=run", "--steps=3", "--json"]
  done = run(folder, "charlm", *flags)
  assert done.code == 0 and done.json["steps"] == 3, done.err


def test_overwrite_takes_only_what_is_ours(copy):
  (copy / "run" / "notes.txt").write_text("mine")
  flags = [*TINY, "--workdir=run", "--steps=3", "--overwrite", "--json"]
  before = tree(copy)
  refused(run(copy, "charlm", *flags, "--dropout=2"), "--dropout=2")
  assert tree(copy) == before
  done = run(copy, "charlm", *flags)
  assert done.code == 0 and done.json["steps"] == 3, done.err
  assert records(copy / "run")[0]["step"] == 1 and steps_of(copy / "run") == [3]
  assert (copy / "run" / "notes.txt").read_text() == "mine"
