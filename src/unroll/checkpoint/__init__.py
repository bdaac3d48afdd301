"""Checkpoints: one pytree a step, written behind the run, digested leaf by leaf.

A step is the orbax checkpoint `<directory>/<step>/`, a flat dict of host arrays named
by their path in the state: orbax's v1 API reads `<step>`, its older checkpointers read
`<step>/state`. Its metadata holds the caller's `meta` and a digest of every leaf,
because orbax loads a flipped bit without a word, casts dtypes without a word, and never
falls back to an older step; names, shapes and types are compared here, because orbax
takes None for whatever it finds. What is not (or no longer) a checkpoint lives in
`<directory>/.partial/`: a step appears by one rename, once the disk has all of it.
"""

import contextlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from unroll import files
from unroll.checkpoint import leaves, sealed
from unroll.types import BadInput

# One thread for all runs of a process: side by side, orbax mixes up their folders.
_WRITER = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
_BEST = "best"  # the empty file in a step that was the best when it was saved


class Restored(NamedTuple):
  """A checkpoint read back: its step, the state, and the `meta` saved with it."""

  step: int
  state: Any
  meta: dict[str, Any]


class Checkpoints:
  """Writes the checkpoints of one run, each in the background.

  A context manager: leaving it waits for the last write. Errors of a write (disk full,
  no permission) surface as OSError at the next `check`, `save`, `wait` or `close`; the
  older checkpoints are still there. Where several processes train, one of them writes,
  whole arrays that the others helped to gather, and waits for no other.

  Args:
    directory: where the steps live, made if missing; what a killed write left is gone.
    keep: how many of the newest steps stay on disk, beside the best one.
    run: a JSON dict that says which run they are of, for `run_of`.

  Raises:
    BadInput: if `keep` is less than one.
    OSError: if the directory cannot be made.
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    keep: int = 3,
    run: dict[str, Any] | None = None,
  ):
    if keep < 1:
      raise BadInput(f"keep={keep}: keep at least 1 checkpoint")
    self._directory = Path(directory).absolute()
    self._partial = self._directory / ".partial"
    self._folder = self._partial  # of the write under way
    self._keep = keep
    self._run = {} if run is None else {"run": run}
    self._pending: Future[None] | None = None
    self._directory.mkdir(parents=True, exist_ok=True)
    for above in self._directory.parents[:2]:  # a run's folder, and where that is
      files.sync(above)
    shutil.rmtree(self._partial, ignore_errors=True)

  def save(
    self, step: int, state: Any, meta: dict[str, Any], *, best: bool = False
  ) -> None:
    """Copies the state to the host, then writes it in the background.

    The caller may donate or overwrite its buffers as soon as this returns. The step
    replaces one of the same number; later steps belong to a future that a resumed run
    has left, and go. One write is under way at a time: this waits for the last one.

    Args:
      step: training steps taken.
      state: any pytree of arrays, PRNG keys and Python numbers.
      meta: a JSON dict, given back by `restore`.
      best: whether this is the best state so far; the newest such step is kept.

    Raises:
      OSError: if the last write failed.
      TypeError: if a leaf of the state or `meta` cannot be saved.
    """
    self.wait()
    specs = leaves.specs(state)
    values = jax.device_get([leaves.raw(leaf) for leaf in jax.tree.leaves(state)])
    # Copied, as device_get shares the buffers of a CPU. Orbax refuses arrays of size
    # zero; their type says all there is to know.
    arrays = {
      name: np.array(leaf) for name, leaf in zip(specs, values) if np.size(leaf)
    }
    content = {"step": step, "meta": meta, "specs": specs, **self._run}
    content = json.loads(json.dumps(content))
    self._pending = _WRITER.submit(self._write, step, arrays, content, best)

  def check(self) -> None:
    """Raises OSError if the last save has failed, or the next one could only fail.

    It takes microseconds: a run asks now and then, so as not to train for nothing.
    """
    if self._pending is not None and self._pending.done():
      self.wait()
    if not os.access(self._directory, os.W_OK | os.X_OK):
      there = self._directory.exists()
      found = "is read-only now: make it writable" if there else "is gone: put it back"
      raise OSError(f"{self._directory} {found}, then resume with the same command")

  def wait(self) -> None:
    """Waits until the last save is on disk; raises OSError if it failed."""
    pending, self._pending = self._pending, None
    if pending is not None:
      pending.result()

  def close(self) -> None:
    """Waits for the last save."""
    self.wait()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _write(
    self, step: int, arrays: dict[str, np.ndarray], content: dict[str, Any], best: bool
  ) -> None:
    path = self._directory / str(step)
    try:
      self._partial.mkdir(exist_ok=True)
      fresh = sealed.steadily(lambda: self._fresh(step, arrays, content))
      if best:
        (fresh / _BEST).touch()
      files.sync_all(fresh)
      self._discard(step)
      fresh.rename(path)
      files.sync(self._directory)
      self._prune(step)
    except Exception as error:  # orbax raises ValueError for a full disk
      raise OSError(
        f"checkpoint {path} could not be written: {sealed.reason(error)}; the older "
        "ones are intact; make room or the folder writable, then resume with the same "
        "command"
      ) from None
    finally:
      shutil.rmtree(self._partial, ignore_errors=True)

  def _fresh(
    self, step: int, arrays: dict[str, np.ndarray], content: dict[str, Any]
  ) -> Path:
    """Writes a step into a new folder."""
    # Threads of a write that failed may still be at work in the last.
    self._folder = Path(tempfile.mkdtemp(dir=self._partial))
    fresh = self._folder / str(step)
    sealed.write(fresh, arrays, content)
    return fresh

  def _prune(self, newest: int) -> None:
    """Leaves the newest `keep` steps up to `newest`, and the newest best one."""
    past = [step for step in steps(self._directory) if step <= newest]
    best = [step for step in best_steps(self._directory) if step <= newest]
    kept = {*past[-self._keep :], *best[-1:]}
    for step in steps(self._directory):
      if step not in kept:
        self._discard(step)

  def _discard(self, step: int) -> None:
    """Takes a step away in one rename, so that none is ever seen half deleted."""
    path = self._directory / str(step)
    if path.exists():
      path.rename(self._folder / f"{step}.old")


def steps(directory: str | os.PathLike[str]) -> list[int]:
  """The steps that have a checkpoint in `directory`, oldest first; damaged ones too."""
  path = Path(directory)
  names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
  return sorted(int(name) for name in names if name.isdecimal())


def best_steps(directory: str | os.PathLike[str]) -> list[int]:
  """The steps that were the best when they were saved, oldest first."""
  path = Path(directory)
  return [step for step in steps(path) if (path / str(step) / _BEST).exists()]


def run_of(directory: str | os.PathLike[str]) -> tuple[int, dict[str, Any]] | None:
  """The newest step with intact metadata, and the run that it says it is of.

  None if there is no such step, or it says nothing. No array is read.
  """
  path = Path(directory).absolute()
  for step in reversed(steps(path)):
    with contextlib.suppress(sealed.Damaged):
      run = sealed.content(path / str(step)).get("run")
      return None if run is None else (step, run)
  return None


def restore(
  directory: str | os.PathLike[str],
  like: Any,
  *,
  which: Literal["newest", "best"] | int = "newest",
  part: bool = False,
  warn: Callable[[str], Any] = warnings.warn,
) -> Restored | None:
  """Reads the newest intact checkpoint, every leaf checked against its digest.

  A run may go on there meanwhile: steps that it takes away are no damage.

  Args:
    directory: where `Checkpoints` wrote.
    like: the state to restore into, concrete or abstract (`jax.eval_shape`): its
      structure, shapes and dtypes must be those saved, and are those returned, as is
      where committed arrays live.
    which: `"newest"`, `"best"` (the newest one saved with `best=True`), or a step.
    part: whether `like` may lack leaves that were saved: None stands for them.
    warn: called with one sentence for each damaged step that is passed over.

  Returns:
    The step, state and meta; None if the directory has no checkpoint at all.

  Raises:
    BadInput: if there are checkpoints but none is intact or has the step or mark
      asked for; if the checkpoint is of another model than `like`.
  """
  directory = Path(directory).absolute()
  specs = leaves.specs(like)
  damaged: list[int] = []
  while saved := steps(directory):
    best = [step for step in saved if (directory / str(step) / _BEST).exists()]
    choices: dict[str | int, list[int]] = {step: [step] for step in saved}
    asked = {**choices, "newest": saved, "best": best}.get(which, [])
    intact = [step for step in asked if step not in damaged]
    if not intact:
      raise BadInput(_none_left(directory, which, saved, damaged))
    path = directory / str(intact[-1])
    before = _identity(path)
    try:
      content = sealed.content(path)
      there = content["specs"]
      if part:
        there = {name: there[name] for name in there if name in specs}
      leaves.check_same_model(path, there, specs)
      arrays = sealed.arrays(path, content["digests"])
    except sealed.Damaged as error:
      if before is None or before != _identity(path):
        continue  # the run that trains here took it away: there are others now
      warn(f"checkpoint {path} is damaged and passed over: {error}")
      damaged.append(intact[-1])
      continue
    likes, structure = jax.tree.flatten(like)
    values = map(leaves.placed, map(arrays.get, specs), likes)
    state = jax.tree.unflatten(structure, values)
    return Restored(intact[-1], state, content["meta"])
  return None


def _none_left(
  directory: Path, which: str | int, saved: list[int], damaged: list[int]
) -> str:
  """Why there is nothing to restore, and what to do."""
  if not damaged:
    return f"{directory} has no {which} checkpoint: its steps are {saved}"
  others = [step for step in saved if step not in damaged]
  return (
    f"{directory} has no intact checkpoint to restore, steps {sorted(damaged)} are "
    + (
      f"damaged; checkpoint=newest restores the newest intact one of {others}"
      if others
      else "damaged; take them from a copy, or start afresh in another directory"
    )
  )


def _identity(path: Path) -> tuple[int, int] | None:
  """The identity of a step's folder, so that another in its place is told apart.

  It is None if the folder is gone.
  """
  try:
    status = path.lstat()
  except FileNotFoundError:
    return None
  return status.st_ino, status.st_ctime_ns
