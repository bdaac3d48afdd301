"""One checkpoint on disk: orbax's, sealed, read back as written or not at all.

Its metadata holds a digest of every array and of itself, because orbax loads a flipped
bit without a word.
"""

import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

Result = TypeVar("Result")

# Orbax logs the traceback of every error that it also raises, from each of its threads.
logging.getLogger("absl").addFilter(lambda record: "/orbax/" not in record.pathname)


def _of_others(log: logging.LogRecord) -> bool:
  """Leaves out the arrays that fail beside the one that orbax raises for.

  Nobody asks for their errors, which asyncio tells of once they are collected; they
  come from orbax or, where a checkpoint is damaged, from the store below it.
  """
  text = log.getMessage()
  forgotten = "exception was never retrieved" in text
  of_store = forgotten and "OCDBT database at local file" in text
  return not (of_store or "/orbax/checkpoint/" in text)


logging.getLogger("asyncio").addFilter(_of_others)


def _report(unraisable: Any, report: Callable[[Any], Any] = sys.unraisablehook) -> None:
  """Leaves out the arrays that fail after the first has made orbax close its loop."""
  if str(unraisable.exc_value) != "Event loop is closed":
    report(unraisable)


sys.unraisablehook = _report


def _orbax() -> Any:
  """Orbax's v1 API, once it is needed: to import it takes a fifth of a second."""
  from orbax.checkpoint import v1

  return v1


class Damaged(Exception):
  """A checkpoint that is not what was written."""


def steadily(call: Callable[[], Result]) -> Result:
  """The result of `call`, called again if it fails while the clock of the day is set.

  Orbax takes its timeouts by that clock: one set forward ends its work at once.
  """
  while True:
    before = time.time() - time.monotonic()
    try:
      return call()
    except Exception:
      if abs(time.time() - time.monotonic() - before) < 60:  # orbax waits for longer
        raise


def write(path: Path, arrays: dict[str, np.ndarray], content: dict[str, Any]) -> None:
  """Writes arrays by name, and a JSON dict; waits for no other process.

  Raises:
    Exception: what orbax makes of an error of the disk; see `reason`.
  """
  digests = {name: _digest(array) for name, array in arrays.items()}
  content = {**content, "digests": digests}
  metadata = {**content, "seal": _seal(content)}
  if jax.process_count() == 1:
    _orbax().save(path, arrays, custom_metadata=metadata)
    return
  # The first API of orbax, whose checkpoints v1 reads: every save of v1 starts with a
  # collective of all processes, which may not run beside those of the step.
  import orbax.checkpoint as orbax

  alone = _alone().multiprocessing_options.v0()
  handler = orbax.CompositeCheckpointHandler(  # as v1 names it
    state=orbax.PyTreeCheckpointHandler(multiprocessing_options=alone),
    composite_options=orbax.CompositeOptions(multiprocessing_options=alone),
  )
  with orbax.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
    args = orbax.args.Composite(state=orbax.args.PyTreeSave(arrays))
    checkpointer.save(path, args=args, custom_metadata=metadata)


def _alone() -> Any:
  """Has orbax take this process for the only one, also where others train with it."""
  context, own = _orbax().Context(), jax.process_index()
  context.multiprocessing.active_processes = {own}
  context.multiprocessing.primary_host = own
  context.multiprocessing.barrier_sync_key_prefix = f"process-{own}"
  return context


def content(path: Path) -> dict[str, Any]:
  """The JSON dict of a checkpoint, and the digests of its arrays; or `Damaged`."""
  try:
    with _alone():
      content = steadily(lambda: _orbax().metadata(path)).custom_metadata
    seal = content.pop("seal")
  except Exception as error:  # whatever orbax makes of the damage
    raise Damaged(f"its metadata cannot be read ({reason(error)})") from error
  if seal != _seal(content):
    raise Damaged("its metadata has changed since it was written")
  return content


def arrays(path: Path, digests: dict[str, str]) -> dict[str, np.ndarray]:
  """The arrays of a checkpoint by name, each as it was written; or `Damaged`."""
  try:
    with _alone():
      arrays = steadily(lambda: _orbax().load(path))
    changed = [name for name in digests if _digest(arrays[name]) != digests[name]]
  except Exception as error:
    raise Damaged(f"its arrays cannot be read ({reason(error)})") from error
  if changed:
    raise Damaged(f"state{changed[0]} has changed since it was written")
  return arrays


def _digest(array: np.ndarray) -> str:
  digest = hashlib.blake2b(f"{array.dtype}{array.shape}".encode(), digest_size=16)
  digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return digest.hexdigest()


def _seal(content: dict[str, Any]) -> str:
  return _digest(np.frombuffer(json.dumps(content, sort_keys=True).encode(), np.uint8))


def reason(error: Exception) -> str:
  """The cause in words, out of an orbax error of many lines."""
  code = re.search(r"os_error_code='(\d+)'", str(error))
  words = os.strerror(int(code[1])) if code else getattr(error, "strerror", None)
  return words or f"{type(error).__name__}: {str(error).strip()[:200]}".splitlines()[0]
