"""Seconds: taken, and summarised."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from unroll.devices import cores

CORES = cores()
# A round: half a second and 3 calls at least, 10 seconds or 200 calls at most.
LEAST_SECONDS, LEAST_CALLS = 0.5, 3
MOST_SECONDS, MOST_CALLS = 10.0, 200


class Timed(NamedTuple):
  """Something to time.

  Attributes:
    call: does the work, all of it, before it returns.
    units: how much work that is; seconds are given for one.
    note: what else is to be known about it, for the record.
  """

  call: Callable[[], Any]
  units: float = 1
  note: Mapping[str, Any] = {}


def once(timed: Timed) -> list[float]:
  """Seconds a unit of one call, the first."""
  start = time.perf_counter()
  timed.call()
  return [(time.perf_counter() - start) / timed.units]


def repeated(timed: Timed) -> list[float]:
  """Seconds a unit of each call of one round."""
  seconds: list[float] = []

  def within(least_or_most_seconds: float, calls: int) -> bool:
    return sum(seconds) * timed.units < least_or_most_seconds and len(seconds) < calls

  while within(MOST_SECONDS, LEAST_CALLS) or within(LEAST_SECONDS, MOST_CALLS):
    seconds += once(timed)
  return seconds


def begun(timed: Timed) -> Timed:
  """The same after a first call, whose seconds, with what it compiles, are noted."""
  return timed._replace(note={**timed.note, "first": once(timed)[0]})


def fastest(candidates: Mapping[str, Timed]) -> Timed:
  """The best of several ways to do the same, each tried for a round."""

  def tried(timed: Timed) -> float:
    timed.call()
    return min(repeated(timed))

  name = min(candidates, key=lambda name: tried(candidates[name]))
  chosen = candidates[name]
  return chosen._replace(note={**chosen.note, "configuration": name})


class Program(NamedTuple):
  """What a compiled program takes.

  Attributes:
    seconds: of a call, the least.
    bytes: of memory, beside what it is given and what it gives.
    result: what it gives.
  """

  seconds: float
  bytes: int
  result: Any


def compiled(function: Callable[..., Any], *given: Any) -> Program:
  """Compiles a function for arrays, and times calls of it for a round."""
  import jax  # for those alone that time something of it

  program = jax.jit(function).lower(*given).compile()
  found = jax.block_until_ready(program(*given))
  timed = Timed(lambda: jax.block_until_ready(program(*given)))
  needs: Any = program.memory_analysis()
  return Program(min(repeated(timed)), needs.temp_size_in_bytes, found)


class Summary(NamedTuple):
  """Seconds over all rounds."""

  minimum: float
  median: float


def summary(rounds: Iterable[Iterable[float]]) -> Summary:
  """Minimum and median of all that was measured, whatever the round."""
  seconds = [one for each in rounds for one in each]
  return Summary(min(seconds), statistics.median(seconds))


def geometric_mean(ratios: Iterable[float]) -> float:
  """The mean of ratios that does not depend on which way round they are taken."""
  return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
