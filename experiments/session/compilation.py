"""Compiled programs, kept from one run to the next, so that the second starts quickly.

JAX names an entry of its cache after the program, the version of jaxlib, the flags of
XLA and the features of the processor, so that none is taken for another. It leaves out
the number of cores, for which XLA divides a program on a CPU: each has its own folder.
"""

import functools
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from experiments.session import programs
from experiments.session.front import FOLDER
from experiments.session.terminal import detail
from unroll import devices, files
from unroll.data import cache

LIMIT = 64 * 2**20  # bytes; a run's programs take about half a million

_TROUBLE = "Error (?:reading|writing) persistent compilation cache entry for '(.*?)'"


def keep() -> None:
  """Has JAX keep what it compiles in the cache folder, unless it has a place already.

  That stands in the way of no run: what is damaged is compiled anew, and where nothing
  can be written, or others could write, nothing is kept.
  """
  if (given := jax.config.values["jax_compilation_cache_dir"]) is not None:
    detail(f"compiled programs are kept in {given}")
    return
  folder = cache.root() / FOLDER / f"{sys.implementation.cache_tag}-{devices.cores()}"
  try:
    if not _own(folder):
      print(f"{folder} is open to others: programs are not kept there", file=sys.stderr)
      return
    _drop_oldest(folder)
  except OSError:
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  detail(f"compiled programs are kept in {folder}, data sets in {cache.root()}")
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  # XLA's own caches have no limit, and their path would be part of every name.
  jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
  warnings.filterwarnings("always", _TROUBLE)
  warnings.showwarning = functools.partial(_mend, folder, warnings.showwarning)


def _own(folder: Path) -> bool:
  """Whether a folder is there, and its parent, that are this user's alone.

  Whoever writes an entry has it run by those who read it.
  """
  folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
  folder.mkdir(mode=0o700, exist_ok=True)
  parent = os.lstat(folder.parent)
  if parent.st_uid == os.getuid() and parent.st_mode & 0o022:
    folder.parent.chmod(0o700)  # what others may have put there is not this user's
  return files.private(folder.parent) and files.private(folder)


def _drop_oldest(folder: Path) -> None:
  size = 0
  kept = [*folder.glob("*-cache"), *folder.glob(f"*{programs.SUFFIX}")]
  for entry in sorted(kept, key=os.path.getmtime, reverse=True):
    size += entry.stat().st_size
    if size > LIMIT:
      entry.unlink(missing_ok=True)


def _mend(folder: Path, show: Callable[..., Any], message: Any, *where: Any) -> None:
  """Takes away what JAX warns of: it never replaces an entry, not even half of one."""
  if (trouble := re.match(_TROUBLE, str(message))) is None:
    show(message, *where)
    return
  with suppress(OSError):
    for entry in folder.glob(f"{trouble[1]}-*-cache"):
      entry.unlink(missing_ok=True)
