"""`python -m launch.worker SWEEP_DIR NAME [CORES]`: works on a sweep until none waits.

Any number of workers, on any machines that see the folder and the storage, need no one
to tell them what to do. A worker that is told to stop saves its runs and gives its
trial back; one that is killed stops beating, and its trial is taken from it.
"""

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from launch import cores, plan, trial
from launch.main import fail
from launch.study import Study
from unroll import stops
from unroll.errors import BadInput, remedied

BEAT = 1.0  # seconds
ARMS = 64  # trials of a grid that one program takes on, at most


@contextlib.contextmanager
def beating(folder: Path, name: str) -> Iterator[None]:
  """Rewrites a file every second, so that others see that this process lives."""
  path, over = folder / name, threading.Event()

  def beat() -> None:
    count = 0
    while True:
      with contextlib.suppress(OSError):  # a full disk may have room again
        path.write_text(str(count))
      count += 1
      if over.wait(BEAT):
        return

  thread = threading.Thread(target=beat, daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()
    path.unlink(missing_ok=True)


def main() -> None:
  """Works on the sweep of the arguments."""
  folder = plan.Folder(Path(sys.argv[1]))
  unique = f"{sys.argv[2]}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(2)}"
  count = int(sys.argv[3]) if len(sys.argv) > 3 else 0
  asked: list[int] = []
  for number in stops.SIGNALS:
    signal.signal(number, lambda number, _: asked.append(number))
  with beating(folder.path / plan.WORKERS, unique), cores.held(count) as held:
    sweep = folder.plan()
    study = Study(sweep, folder)
    # Of a search, each trial that is drawn before others have ended is drawn blindly.
    most = (ARMS if sweep.points else len(held)) if sweep.together else 1
    desk = trial.Desk(sweep, folder, study, lambda: bool(asked))
    with contextlib.closing(desk):
      while not asked and (claims := study.claim(unique, most)):
        desk.work(claims)


if __name__ == "__main__":
  try:
    main()
  except BadInput as error:  # most often the storage's
    fail(str(error))
  except OSError as error:
    fail(remedied(error))
