"""A run's programs, kept as StableHLO: what was traced once is not traced again.

JAX finds a compiled program again by its text (`compilation`). To make the text, the
Python of a model is traced and lowered, which takes longer than all else of a start.
A program is kept with what it was made of: the settings and data of its run, the shapes
of its inputs, JAX's own settings, and every module that was loaded when it was traced.
Whatever of these is another, or a damaged file, has it traced again.
"""

import functools
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import export

from experiments.session import tracing
from unroll import files, scan

SUFFIX = "-program"
BEGAN = time.time_ns()
LARGEST = 2**22  # bytes; one with data among its constants is no quicker to read
# What says where and how to report, not what a program is.
_BESIDE = ("jax_compilation_cache", "jax_persistent_cache", "jax_log", "jax_dump")
_FORMAT = 2


class _Found(NamedTuple):
  """A program, leaves to leaves.

  Attributes:
    call: runs it.
    outputs: their tree.
    shapes: theirs.
    scans: how each of its scans runs, in words.
  """

  call: Callable[..., Any]
  outputs: Any
  shapes: Sequence[Any]
  scans: Sequence[str]


class Programs:
  """The programs of a run.

  Args:
    run: what tells the run's programs from those of others; None: nothing is kept.
  """

  def __init__(self, run: str | None):
    self._run = run

  def of(
    self,
    name: str,
    function: Callable[..., Any],
    donate: tuple[int, ...] = (),
    shardings: Any = None,
  ) -> Callable[..., Any]:
    """Compiles a function as `jax.jit` does, once for each shape of its inputs.

    Args:
      name: that no other function of the run has.
      function: arrays to arrays.
      donate: the arguments whose memory it may use.
      shardings: of the outputs, a prefix of their tree; None: as they come.
    """
    if self._run is None or (folder := _folder()) is None:
      told = tracing.telling(name, function)
      return jax.jit(told, donate_argnums=donate, out_shardings=shardings)
    return _Program(folder, [self._run, name], function, donate, shardings)


def prepare(program: Callable[..., Any], inputs: Sequence[Any]) -> None:
  """Compiles one of `Programs.of` in the background, for its first call to find.

  Args:
    program: what is going to be called.
    inputs: their shapes, and where they are going to lie.
  """

  def work() -> None:
    with suppress(Exception):  # the call will say what it is
      program.lower(*inputs).compile()  # type: ignore[attr-defined]

  threading.Thread(target=work).start()


class _Ready(NamedTuple):
  """A program for inputs of one shape, leaves to leaves."""

  run: Any  # of `jax.jit`
  outputs: Any  # their tree
  shapes: Sequence[Any]  # of the outputs


class _Program:
  """See `Programs.of`."""

  def __init__(
    self,
    folder: Path,
    name: list[str],
    function: Callable[..., Any],
    donate: tuple[int, ...],
    shardings: Any,
  ):
    self._folder, self._name, self._function = folder, name, function
    self._donate, self._shardings = donate, shardings
    self._ready: dict[Any, _Ready] = {}
    self._lock = threading.Lock()

  def __call__(self, *args: Any) -> Any:
    leaves, tree = jax.tree.flatten(args)
    ready = self._found(args, leaves, tree)
    return ready.outputs.unflatten(ready.run(*leaves))

  def lower(self, *args: Any) -> jax.stages.Lowered:
    """The program for inputs like these; what it compiles to serves later calls."""
    leaves, tree = jax.tree.flatten(args)
    return self._found(args, leaves, tree).run.lower(*leaves)

  def eval_shape(self, *args: Any) -> Any:
    """The shapes of the outputs."""
    leaves, tree = jax.tree.flatten(args)
    ready = self._found(args, leaves, tree)
    return ready.outputs.unflatten(
      jax.ShapeDtypeStruct(shape.shape, shape.dtype) for shape in ready.shapes
    )

  def _found(self, args: tuple[Any, ...], leaves: Sequence[Any], tree: Any) -> _Ready:
    shapes = (tree, *((leaf.shape, leaf.dtype) for leaf in leaves))
    if shapes not in self._ready:
      with self._lock:  # a thread may have begun
        if shapes not in self._ready:
          self._ready[shapes] = self._made(args, leaves, tree)
    return self._ready[shapes]

  def _made(self, args: tuple[Any, ...], leaves: Sequence[Any], tree: Any) -> _Ready:
    path = self._folder / f"{_digest([*self._name, *_inputs(leaves, tree)])}{SUFFIX}"
    began, found = time.monotonic(), _read(path)
    how = "found kept"
    if found is None:
      found = self._traced(path, leaves, tree)
      how = f"traced in {time.monotonic() - began:.2f} s"
    tracing.tell(self._name[-1], how, found.scans)
    program, outputs, shapes, _ = found
    spread = None
    if self._shardings is not None:
      example = outputs.unflatten([0] * outputs.num_leaves)
      spread = jax.tree.leaves(jax.tree.broadcast(self._shardings, example))
    marks = [
      jax.tree.map(lambda _, i=i: i in self._donate, arg) for i, arg in enumerate(args)
    ]
    donated = [i for i, mark in enumerate(jax.tree.leaves(marks)) if mark]
    run = jax.jit(program, donate_argnums=donated, out_shardings=spread)
    return _Ready(run, outputs, shapes)

  def _traced(self, path: Path, leaves: Sequence[Any], tree: Any) -> _Found:
    """The program as it is traced; the file too, unless it is not to be kept."""
    trees: list[Any] = []

    def flat(*leaves: Any) -> Any:
      results, outputs = jax.tree.flatten(self._function(*tree.unflatten(leaves)))
      trees.append(outputs)
      return results

    with scan.noted() as notes:
      try:
        program = export.export(jax.jit(flat))(*leaves)
        _write(path, program.serialize(), _shown(trees[0]), tracing.scans(notes))
      except (ValueError, TypeError, NotImplementedError):  # it has no such form
        shapes = jax.eval_shape(flat, *leaves)  # raises what else has been wrong
        return _Found(flat, trees[0], shapes, tracing.scans(notes))
    return _Found(program.call, trees[0], program.out_avals, tracing.scans(notes))


def _folder() -> Path | None:
  """Where JAX keeps what it compiles, if that is this user's alone; else None.

  Programs are kept for one process on CPUs, where they have been measured.
  """
  place = jax.config.values["jax_compilation_cache_dir"]
  if not place or jax.process_count() > 1 or jax.default_backend() != "cpu":
    return None
  folder = Path(place)
  with suppress(OSError):
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder if files.private(folder) else None
  return None


def _inputs(leaves: Sequence[Any], tree: Any) -> list[str]:
  """What of its inputs and of JAX's settings a program depends on."""
  config = {
    name: str(value)
    for name, value in jax.config.values.items()
    if not name.startswith(_BESIDE)
  }
  shapes = [
    f"{leaf.shape} {leaf.dtype} {getattr(leaf, 'weak_type', False)} "
    f"{getattr(leaf, 'sharding', None)}"
    for leaf in leaves
  ]
  versions = [str(_FORMAT), jax.__version__, str(jax.device_count())]
  return [*versions, json.dumps(config, sort_keys=True), str(tree), *shapes]


def _digest(parts: Sequence[str]) -> str:
  return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write(
  path: Path, program: bytes | bytearray, outputs: Any, scans: Sequence[str]
) -> None:
  """Keeps a program, with the sources that are loaded now, if it is to be kept."""
  if len(program) > LARGEST:
    return
  modules = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
  names = sorted({name for name in modules if name and _state(name)})
  head = {
    "outputs": outputs,
    "scans": scans,
    "sources": names,
    "of": _digest([_state(name) for name in names]),
    "sha256": hashlib.sha256(program).hexdigest(),
  }
  with suppress(OSError):
    files.write(path, json.dumps(head).encode() + b"\n" + program)


def _read(path: Path) -> _Found | None:
  """What a file keeps; None: it is not there, or its sources are others now."""
  try:
    head, _, program = path.read_bytes().partition(b"\n")
    told = json.loads(head)
    if hashlib.sha256(program).hexdigest() != told["sha256"]:
      return None
    if _digest([_state(name) for name in told["sources"]]) != told["of"]:
      return None
    os.utime(path)  # the oldest are dropped
    outputs = jax.tree.structure(_tree(told["outputs"]))
    found = export.deserialize(bytearray(program))
    return _Found(found.call, outputs, found.out_avals, told["scans"])
  except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError):
    return None


@functools.cache
def _state(name: str) -> str:
  """Says which file this is; nothing where there is none.

  Raises:
    ValueError: it was written after this process began, which may have read another.
  """
  try:
    status = os.stat(name)
  except OSError:
    return ""
  if status.st_mtime_ns > BEGAN:
    raise ValueError(f"{name} is newer than this process")
  return f"{name} {status.st_size} {status.st_mtime_ns}"


def _shown(tree: Any) -> Any:
  """A tree of outputs as JSON.

  Raises:
    TypeError: it has other nodes than lists, tuples, named ones too, and dicts.
  """
  if tree.node_data() is None:
    return 0
  kind, keys = tree.node_data()
  children = [_shown(child) for child in tree.children()]
  if kind is type(None):
    return []
  if kind is dict and all(isinstance(key, str) for key in keys):
    return dict(zip(keys, children))
  if kind in (tuple, list) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
    return [f"{kind.__module__}:{kind.__qualname__}", *children]
  raise TypeError(f"{kind} is no node of a kept tree")


def _tree(shown: Any) -> Any:
  """The tree that `_shown` gave; its classes are those of modules that are loaded."""
  if shown == 0:
    return 0
  if isinstance(shown, dict):
    return {key: _tree(child) for key, child in shown.items()}
  if not shown:
    return None
  name, *children = shown
  module, _, path = name.partition(":")
  kind: Any = functools.reduce(getattr, path.split("."), sys.modules[module])
  if not issubclass(kind, (tuple, list)):
    raise TypeError(f"{name} is no node of a kept tree")
  values = map(_tree, children)
  return kind(*values) if hasattr(kind, "_fields") else kind(values)
