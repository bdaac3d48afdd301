"""Long use leaves memory, threads and descriptors as they were."""

import http.client
import json
import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import run
from play_test import loaded

from unroll.playing import pages
from unroll.playing.server import server

pytestmark = pytest.mark.slow
REQUESTS, DISPATCHES = 10_000, 600
MIB = 2**20
METRICS = Path("run", "metrics.jsonl")


class Use(NamedTuple):
  """What a process has: bytes of memory, threads, descriptors."""

  memory: int
  threads: int
  files: int


def use():
  pages_of_memory = int(Path("/proc/self/statm").read_text().split()[1])
  return Use(
    pages_of_memory * os.sysconf("SC_PAGE_SIZE"),
    len(os.listdir("/proc/self/task")),
    len(os.listdir("/proc/self/fd")),
  )


def grown(before, after):
  return (
    f"{(after.memory - before.memory) / MIB:+.1f} MiB, "
    f"{after.threads - before.threads:+d} threads, "
    f"{after.files - before.files:+d} descriptors"
  )


def test_a_server_of_many_requests():
  made = server(*pages.played(loaded("language"), "long"))
  thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
  thread.start()
  texts = ["the fox", "a dog saw", "the", "no such path", "{"]

  def ask(count):
    for number in range(count):
      if number % 50 == 0:  # a reader that comes anew, as browsers do
        link = http.client.HTTPConnection("127.0.0.1", made.server_address[1])
      text = texts[number % len(texts)]
      path = "/nothing" if "path" in text else "/encode" if number % 2 else "/read"
      body = text if text == "{" else json.dumps({"text": text, "tokens": [1, 2, 3]})
      link.request("POST", path, body, {"Content-Type": "application/json"})
      answer = link.getresponse()
      answer.read()
      assert answer.status in (200, 400, 404)
      if number % 50 == 49:
        link.close()

  def settled():
    time.sleep(0.5)  # threads of links that were closed end
    return use()

  ask(2000)
  before = settled()
  began = time.monotonic()
  ask(REQUESTS)
  rate = REQUESTS / (time.monotonic() - began)
  after = settled()
  made.shutdown()
  thread.join()
  made.server_close()
  print(f"{REQUESTS:,} requests, {rate:.0f} a second: {grown(before, after)}")
  assert after.memory - before.memory < 8 * MIB
  assert abs(after.threads - before.threads) <= 1
  assert abs(after.files - before.files) <= 1


def watched(path):
  """Has a process write down how much it has logged, and what it has."""

  def watch():
    with open(path, "w", buffering=1) as file:
      while True:
        logged = METRICS.stat().st_size if METRICS.exists() else 0
        file.write(json.dumps([logged, *use()]) + "\n")
        time.sleep(0.05)

  threading.Thread(target=watch, daemon=True).start()


def test_a_run_of_many_dispatches(tmp_path):
  (tmp_path / "book.txt").write_text("the quick brown fox jumps over it. " * 600)
  flags = [
    *("--corpus=book.txt", "--hidden=16", "--embedding=8", "--layers=1", "--batch=4"),
    *("--truncation=tbptt:8", f"--steps={10 * DISPATCHES}", "--dispatch=10"),
    *("--eval_every=200", "--checkpoint_every=200", "--length=10", "--workdir=run"),
  ]
  log = tmp_path / "use.jsonl"
  done = run(tmp_path, "charlm", *flags, first=partial(watched, log))
  assert done.code == 0, done.err
  # Of the second and the last third of its steps, between two checkpoints.
  whole = (tmp_path / METRICS).stat().st_size
  parts: list[list[Use]] = [[], [], []]
  for line in log.read_text().splitlines()[:-1]:
    logged, *one = json.loads(line)
    if logged < whole:
      parts[3 * logged // whole].append(Use(*one))
  before, after = (Use(*map(min, zip(*part))) for part in parts[1:])
  print(f"{DISPATCHES} dispatches: {grown(before, after)}")
  assert after.memory - before.memory < 16 * MIB
  assert after.threads - before.threads <= 2 and after.files - before.files <= 2
