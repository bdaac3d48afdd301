"""An experiment in miniature: all that a sweep relies on, and a hollow to find.

  python -m tests.toy --x=0.5 --steps=10 --workdir=DIR --json

Its metric falls to (x - 0.3)^2 + depth as it goes on. It saves after every step, goes
on from there, and appends a line to the file `ends` when it has run to its end.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
OBJECTIVE = "val/loss"

flags.DEFINE_float("x", 0.0, "where to look")
flags.DEFINE_integer("depth", 1, "another number")
flags.DEFINE_enum("kind", "good", ["good", "bad", "crash", "diverge"], "how it ends")
flags.DEFINE_enum("mode", "train", ["train", "eval"], "what to do")
flags.DEFINE_integer("steps", 5, "to take")
flags.DEFINE_float("pause", 0.0, "seconds a step")
flags.DEFINE_integer("seed", 0, "shifts the metric a little")
flags.DEFINE_bool("slow", False, "does nothing")
flags.DEFINE_string("workdir", "", "the run's folder")
flags.DEFINE_bool("json", False, "ends with an object")


def main(_: list[str]) -> None:
  """Trains, or evaluates what was trained."""
  path = Path(FLAGS.workdir)
  if FLAGS.mode == "eval":
    state = json.loads((path / "state.json").read_text())
    print(json.dumps({"val/loss": 0.0, "test/loss": 10 * state["value"]}))
    return
  path.mkdir(parents=True, exist_ok=True)
  if FLAGS.kind == "bad":
    print("error: --kind=bad is not good: choose another", file=sys.stderr)
    sys.exit(2)
  asked: list[int] = []
  signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
  saved = path / "state.json"
  state = (
    json.loads(saved.read_text()) if saved.exists() else {"step": 0, "value": None}
  )
  first = state["step"]
  while state["step"] < FLAGS.steps and not asked:
    time.sleep(FLAGS.pause)
    if FLAGS.kind == "crash" and state["step"] == 2 and not (path / "crashed").exists():
      (path / "crashed").touch()
      os.kill(os.getpid(), signal.SIGKILL)
    step = state["step"] + 1
    value = (FLAGS.x - 0.3) ** 2 + FLAGS.depth + 1 / step + FLAGS.seed / 100
    if FLAGS.kind == "diverge":
      value = float("nan")
    state = {"step": step, "value": value}
    with open(path / "metrics.jsonl", "a") as file:
      file.write(json.dumps({"step": step, OBJECTIVE: value}) + "\n")
    partial = path / "state.partial"
    partial.write_text(json.dumps(state))
    partial.replace(saved)
  finished = state["step"] == FLAGS.steps
  if finished and first < FLAGS.steps:
    with open(path / "ends", "a") as file:
      file.write("end\n")
  summary = {"steps": state["step"], OBJECTIVE: state["value"], "finished": finished}
  print("a line for people")
  print(json.dumps({**summary, "workdir": str(path)}))


if __name__ == "__main__":
  app.run(main)
