"""`python -m experiments.session.standby MODULE`: one process that runs a page often.

A worker of a sweep keeps one: what is imported and compiled once serves every trial. It
reads a JSON object a line from standard input, and answers each with one:

  {"flags": ["--steps=50", …], "output": FILE, "log": FILE}
  {"code": 0}

`output` and `log` take what the run writes to standard output and error. The process
ends itself after a run that raised what nobody foresaw, and once it has grown: a code
of None asks for the same in a process of its own, whose devices are not made yet.
"""

import gc
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from experiments.session import door, output, prepared
from experiments.session.settings import Page
from unroll import devices

KEPT = 4  # kinds of runs whose programs are kept
GROWTH = 2**29  # bytes more than after the first run, after which the process ends
BAD_INPUT = 2


def main() -> None:
  """Answers until standard input ends."""
  page: Page = importlib.import_module(sys.argv[1]).PAGE
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)  # what no run has written is no answer
  door.prepare(page)
  handler = signal.getsignal(signal.SIGINT)
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the worker that is asked
  first = 0
  with devices.alike(), prepared.keeping(KEPT):
    for line in sys.stdin:
      asked = json.loads(line)
      signal.signal(signal.SIGINT, handler)
      code = _run(page, asked)
      signal.signal(signal.SIGINT, signal.SIG_IGN)
      print(json.dumps({"code": code}), file=answers, flush=True)
      gc.collect()
      first = first or _size()
      if code not in (0, BAD_INPUT) or _size() > first + GROWTH:
        return


def _run(page: Page, asked: dict[str, Any]) -> int | None:
  """The exit code of a run, whose streams are files; None: not in this process."""
  kept = [os.dup(1), os.dup(2)]
  for number, name in enumerate(("output", "log"), 1):
    file = os.open(asked[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, number)
    os.close(file)
  output.renew()
  try:
    door.again(page, asked["flags"])
  except SystemExit as end:
    return end.code if isinstance(end.code, int) else int(end.code is not None)
  except devices.Settled:
    return None
  except Exception:
    traceback.print_exc()
    return 1
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    for number, stream in enumerate(kept, 1):
      os.dup2(stream, number)
      os.close(stream)
  return 0


def _size() -> int:
  """Bytes of memory that this process has; 0 where the system does not tell."""
  try:
    pages = Path("/proc/self/statm").read_text().split()[1]
  except OSError:
    return 0
  return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
  main()
