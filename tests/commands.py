"""Experiments as commands: real processes, forked where the libraries are imported.

The first command of a session takes the seconds that the imports take, the others do
not; and a program that was compiled once is not compiled again.
"""

import functools
import json
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
  [
    *("jax", "flax.linen", "optax", "orbax.checkpoint", "grain", "matplotlib.pyplot"),
    "tensorboardX",
  ]
)
PATIENCE = 600  # seconds


@functools.cache
def shared(name: str) -> tempfile.TemporaryDirectory:
  """A folder of the session; made when asked for, as commands import this file too."""
  return tempfile.TemporaryDirectory(prefix=f"unroll-{name}-")


class Done(NamedTuple):
  """How a command ended: its exit code, and what it wrote."""

  code: int
  out: str
  err: str

  @property
  def json(self) -> dict[str, Any]:
    """The object that ends standard output."""
    return json.loads(self.out.splitlines()[-1])


class Command:
  """`python -m MODULE FLAGS`, under way.

  Args:
    cwd: the folder it runs in.
    module: a page of experiments/, or a module of bench/ or tests/.
    *argv: its flags.
    stdin: what it can read.
    first: called in the process before anything else.
  """

  def __init__(
    self,
    cwd: Path,
    module: str,
    *argv: str,
    stdin: bytes = b"",
    first: Callable[[], None] | None = None,
  ):
    self._streams = Path(tempfile.mkdtemp(dir=shared("streams").name))
    (self._streams / "0").write_bytes(stdin)
    arguments = (cwd, module, argv, self._streams, shared("compiled").name, first)
    self.process = FORKS.Process(target=_run, args=arguments)
    self.process.start()

  def wait(self) -> Done:
    self.process.join(PATIENCE)
    if self.process.exitcode is None:
      self.process.kill()
      self.process.join()
    code = self.process.exitcode
    self.process.close()
    out, err = ((self._streams / name).read_text("utf-8") for name in "12")
    return Done(code, out, err)


def run(cwd: Path, module: str, *argv: str, **options: Any) -> Done:
  """Runs a command to its end."""
  return Command(cwd, module, *argv, **options).wait()


def _run(cwd, module, argv, streams, compiled, first) -> None:
  for number, mode in enumerate("rww"):
    with open(streams / str(number), mode) as file:
      os.dup2(file.fileno(), number)
  sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")
  os.chdir(cwd)
  # A shell has its background jobs ignore it, and so all that they start.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  import jax

  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_compilation_cache_dir", compiled)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  if first:
    first()
  sys.argv = [module, *argv]
  try:
    room = module.partition(".")[0]
    page = module if room in ("bench", "tests") else f"experiments.{module}"
    runpy.run_module(page, run_name="__main__")
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
