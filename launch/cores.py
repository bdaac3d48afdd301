"""Cores of this machine, taken by one worker each."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launch.main import say
from unroll import files


def cores() -> set[int]:
  """The cores that this process may run on."""
  try:
    return os.sched_getaffinity(0)
  except AttributeError:  # not every system has it
    return set(range(os.cpu_count() or 1))


@contextlib.contextmanager
def held(count: int) -> Iterator[set[int]]:
  """Confines this process to cores that no other worker on the machine holds.

  They are free again when it ends, however it ends. Where fewer are free, the system
  cannot confine a process, or another user has taken the folder of the locks, it stays
  where it is.

  Args:
    count: how many; 0 for no such confinement.
  """
  before = cores()
  folder = Path(tempfile.gettempdir(), f"unroll-cores-{os.getuid()}")
  with contextlib.ExitStack() as locks:
    taken: set[int] = set()
    confined = 0 < count < len(before) and hasattr(os, "sched_setaffinity")
    if confined and _made(folder):
      for core in sorted(before):
        if len(taken) == count:
          break
        with contextlib.suppress(OSError):  # held by another worker, or a link
          path = folder / str(core)
          file = locks.enter_context(open(path, "ab", opener=files.unlinked))
          fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
          taken.add(core)
    if count and len(taken) == count:
      os.sched_setaffinity(0, taken)
    try:
      yield cores()
    finally:
      if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, before)


def _made(folder: Path) -> bool:
  """Whether a folder is there that no one else can put anything in."""
  try:
    with contextlib.suppress(FileExistsError):
      folder.mkdir(mode=0o700)
    trusted = files.private(folder)
  except OSError:
    return False
  if not trusted:
    say(f"{folder} is open to others, so that no cores are set aside: remove it")
  return trusted
