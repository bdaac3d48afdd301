"""A gang in miniature: all that launch.train relies on, without JAX.

  python -m tests.toy_gang --workdir=DIR --coordinator=… --processes=2 --process=0

Process 0 asks the others at every step, and makes a checkpoint of it. Whoever loses
another ends with exit code 75; one that is asked to stop has all of them stop.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--workdir", type=Path)
parser.add_argument("--coordinator")
parser.add_argument("--processes", type=int)
parser.add_argument("--process", type=int)
parser.add_argument("--overwrite", action="store_true")
parser.add_argument("--steps", type=int, default=8)
parser.add_argument("--pause", type=float, default=0.0)
parser.add_argument("--kind", default="good", choices=["good", "bad", "mortal", "dead"])
FLAGS = parser.parse_args()
CHECKPOINTS = FLAGS.workdir / "checkpoints"
asked: list[int] = []


def reached() -> int:
  return max((int(p.name) for p in CHECKPOINTS.glob("[0-9]*")), default=0)


def lead(connections: list[socket.socket]) -> None:
  """Process 0."""
  config = FLAGS.workdir / "config.json"
  if FLAGS.overwrite or not config.exists():
    shutil.rmtree(CHECKPOINTS, ignore_errors=True)
    config.unlink(missing_ok=True)
    config.write_text("{}")
  CHECKPOINTS.mkdir(exist_ok=True)
  print(f"from step {reached()}", file=sys.stderr, flush=True)
  while reached() < FLAGS.steps and not asked:
    time.sleep(FLAGS.pause)
    step = reached() + 1
    for connection in connections:
      connection.sendall(bytes([step]))
      answer = connection.recv(1)
      if not answer:
        sys.exit(os.EX_TEMPFAIL)
      if answer == b"s":
        asked.append(0)
    (CHECKPOINTS / str(step)).mkdir()
  print(json.dumps({"steps": reached(), "finished": reached() == FLAGS.steps}))


def follow(connection: socket.socket) -> None:
  """The others."""
  while step := connection.recv(1):
    died = FLAGS.workdir / "died"
    if FLAGS.kind == "dead" or (
      FLAGS.kind == "mortal" and step[0] == 5 and not died.exists()
    ):
      died.touch()
      os.kill(os.getpid(), signal.SIGKILL)
    connection.sendall(b"s" if asked else b".")


def connected(host: str, port: int) -> socket.socket:
  """To process 0, as soon as it listens."""
  while True:
    try:
      return socket.create_connection((host, port))
    except ConnectionRefusedError:
      time.sleep(0.01)


def main() -> None:
  """Takes its part."""
  host, _, port = FLAGS.coordinator.rpartition(":")
  if FLAGS.kind == "bad":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if FLAGS.process == 1:
      connected(host, int(port))  # so that the other one has started
      print("error: --kind=bad is not good: choose another", file=sys.stderr)
      sys.exit(2)
    with socket.create_server((host, int(port))):
      time.sleep(60)
  signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
  cores = sorted(os.sched_getaffinity(0))
  own = {"pid": os.getpid(), "cores": cores, "count": os.environ.get("NPROC")}
  (FLAGS.workdir / f"process-{FLAGS.process}").write_text(json.dumps(own))
  if FLAGS.process == 0:
    with socket.create_server((host, int(port))) as server:
      lead([server.accept()[0] for _ in range(FLAGS.processes - 1)])
  else:
    follow(connected(host, int(port)))
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the others may have stopped for it


if __name__ == "__main__":
  main()
