"""The process of one library: a request as its argument, a measurement for each line.

  echo | python -m bench.worker '{"library": "unroll", "suite": "layer",
    "shape": {"batch": 8, "steps": 16, "inputs": 4, "hidden": 32, "cell": "lstm"}}'

A line on standard input asks for a round; its answer is one line of JSON.
"""

import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from bench import timing
from bench.shapes import Shape
from unroll.devices import divide, keep_memory


def main() -> None:
  """Builds what the request names, and measures it whenever asked."""
  # What libraries print must not come between the answers.
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  request: dict[str, Any] = {"devices": 1, "options": {}, "fresh": False, "keeps": True}
  request |= json.loads(sys.argv[1])
  module = f"bench.libraries.{request['library']}"
  measure = timing.once if request["fresh"] else timing.repeated
  try:
    shape = Shape(**request["shape"])
    if request["keeps"]:  # it makes a difference to every library
      rows = -(-shape.batch // request["devices"])
      units = shape.layers * shape.width + shape.vocabulary
      keep_memory(rows, shape.steps, units)
    if request["devices"] > 1:
      divide(str(request["devices"]), shape.batch, shape.hidden)
    build = getattr(importlib.import_module(module), request["suite"])
    timed = build(shape, **request["options"])
    if not request["fresh"]:
      timed.call()  # compiles
    for _ in sys.stdin:
      seconds = [float(f"{one:.6g}") for one in measure(timed)]
      ran = {"devices": request["devices"], "resident_bytes": _resident()}
      answer = {**timed.note, **ran, "seconds": seconds}
      print(json.dumps(answer), file=answers, flush=True)
  except Exception as error:
    reason = str(error).partition("\n")[0]
    answer = {"error": f"{type(error).__name__}: {reason}"}
    print(json.dumps(answer), file=answers, flush=True)


def _resident() -> int | None:
  """The most memory that this process has had, where the system tells."""
  # Not getrusage: it counts the parent, up to the exec.
  status = Path("/proc/self/status")
  found = status.exists() and re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
  return 1024 * int(found[1]) if found else None


if __name__ == "__main__":
  main()
