"""Where the time of a run goes, as `verbose` tells it: clocks alone, and no waiting.

The loop keeps the device a dispatch ahead: the host waits for the device where it reads
numbers, so that what is left of the whole, beside what is timed here, are steps.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax

from experiments.session.terminal import detail, detailed
from unroll import loop

Item = TypeVar("Item")
# Events of JAX, by what they are called here.
COMPILED = "/jax/compilation_cache/cache_misses"
FOUND = "/jax/compilation_cache/cache_hits"
SECONDS = "/jax/core/compile/backend_compile_duration"
_told: Counter[str] = Counter()  # of this process, as far as JAX tells
_listening = False


class Spent:
  """The clocks of one run.

  Args:
    began: the `time.monotonic()` that all is counted from.
  """

  def __init__(self, began: float):
    self._began = began
    self._first: float | None = None
    self._parts: Counter[str] = Counter()
    self._before = _listened()

  def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose time counts as that of a part of the run."""

    def run(*args: Any, **options: Any) -> Any:
      before = time.monotonic()
      try:
        return call(*args, **options)
      finally:
        self._parts[part] += time.monotonic() - before  # type: ignore[assignment]

    return run

  def waited(self, part: str, items: Iterable[Item]) -> Iterator[Item]:
    """The same items; the time that each is waited for counts as that of a part."""
    following = self.timed(part, iter(items).__next__)
    while True:
      try:
        item = following()
      except StopIteration:
        return
      yield item

  def running(self, program: loop.Program) -> loop.Program:
    """The same program, of which all but the steps is timed."""
    return program._replace(
      evaluate=self.timed("evaluation", program.evaluate),
      watch=self.timed("looking at gradients", program.watch),
    )

  def noting(self, log: Callable[[dict[str, Any]], Any]) -> Callable[[dict], None]:
    """The same log, from which it is known when the first step was done."""

    def write(record: dict[str, Any]) -> None:
      log(record)
      if "start_seconds" in record and self._first is None:
        self._first = time.monotonic() - self._began
        data = self._parts["data"]
        self._parts.clear()
        took = f"first step after {self._first:.2f} s"
        detail(f"{took}: data took {data:.2f} s; {self._compiled()}")

    return write

  def tell(self) -> None:
    """Tells where the time went."""
    whole = time.monotonic() - self._began
    parts = {name: seconds for name, seconds in self._parts.items() if seconds >= 0.005}
    rest = whole - (self._first or 0) - sum(self._parts.values())
    named = {"steps": rest, **parts}
    if self._first is None:
      named = {"start": rest, **parts}
    else:
      named = {"until the first step": self._first, **named}
    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in named.items())
    detail(f"{whole:.2f} s: {told}")

  def _compiled(self) -> str:
    made = _told - self._before
    return (
      f"{made[COMPILED]:.0f} programs compiled and {made[FOUND]:.0f} found compiled, "
      f"in {made[SECONDS]:.2f} s"
    )


def _listened() -> Counter[str]:
  """What JAX has told so far; from now on it tells, if details are asked for."""
  global _listening
  if detailed() and not _listening:
    _listening = True
    jax.monitoring.register_event_listener(lambda event, **_: _add(event, 1))
    jax.monitoring.register_event_duration_secs_listener(
      lambda event, duration_secs, **_: _add(event, duration_secs)
    )
  return _told.copy()


def _add(event: str, amount: float) -> None:
  if event in (COMPILED, FOUND, SECONDS):
    _told[event] += amount  # type: ignore[assignment]
