"""How much memory a program needs, and the cheapest plan that fits a budget.

XLA places every buffer when it compiles, so it knows the peak before anything runs,
in seconds that hardly depend on T. No formula in T, B and H is as right: which arrays
stand in memory at once is the compiler's choice, and changes from version to version.
"""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
from jax.stages import Lowered

from unroll import remat
from unroll.remat import Plan
from unroll.types import BadInput

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Fit(NamedTuple):
  """A plan that fits.

  Attributes:
    plan: the cheapest one.
    needs: bytes by name of plan, of those that were tried: the last is its own.
  """

  plan: Plan
  needs: dict[str, int]


def peak(program: Lowered) -> int:
  """The most bytes that a program's arguments, results and all between take at once.

  On one of its devices; those of a CPU share one memory and count together. The
  process around them, some hundred megabytes, does not count.
  """
  compiled = program.compile()
  used, running = compiled.memory_analysis(), compiled.runtime_executable()
  assert used is not None and running is not None  # no backend is without them
  results = used.output_size_in_bytes - used.alias_size_in_bytes
  devices = running.local_devices()
  sharing = len(devices) if devices[0].platform == "cpu" else 1
  return sharing * (used.argument_size_in_bytes + used.temp_size_in_bytes + results)


def available() -> int:
  """The bytes that programs can have: a device's own, or those of this machine."""
  stats = jax.local_devices()[0].memory_stats()  # a CPU has none
  if stats and "bytes_limit" in stats:
    return stats["bytes_limit"]
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check(count: int, what: str) -> None:
  """Refuses what needs more bytes than there are, before anyone asks for them.

  Args:
    count: bytes that it needs at the least.
    what: its arguments, with their values.

  Raises:
    BadInput: it does not fit.
  """
  if count > (most := available()):
    raise BadInput(
      f"{what} needs at least {size(count)} of memory and there are {size(most)}: "
      "give less"
    )


def cheapest(lower: Callable[[Plan], Lowered], budget: int, length: int) -> Fit:
  """The plan of least recomputation under which a program fits a budget.

  Args:
    lower: makes the program of a plan.
    budget: bytes that it may take.
    length: T, the steps that the plan cuts.

  Raises:
    BadInput: if none fits; it names the smallest need.
  """
  needs: dict[str, int] = {}
  for plan in _by_cost(length):
    needs[plan.name] = peak(lower(plan))
    if needs[plan.name] <= budget:
      return Fit(plan, needs)
  leanest = min(needs, key=lambda name: needs[name])
  raise BadInput(
    f"memory_budget={size(budget)}: a training step needs {size(needs[leanest])} "
    f"under remat={leanest}, the leanest plan: give as much, or a smaller model or "
    "`batch`"
  )


def _by_cost(length: int) -> Iterator[Plan]:
  """Plans by the forward passes that they add, 0, 1, 2, …"""
  deeper = map(remat.recursive, itertools.count(2))
  plans = itertools.chain([remat.NONE, remat.sqrt()], deeper)
  return itertools.islice(plans, remat.deepest(length) + 1)


def size(count: int) -> str:
  """Bytes in the largest unit that leaves a whole one, rounded up: `2.1 GiB`."""
  name = max(
    (n for n in UNITS if UNITS[n] <= count), key=UNITS.__getitem__, default="B"
  )
  tenths = -(-10 * count // UNITS[name])
  return f"{tenths / 10:,.1f} {name}"


def named_size(spec: str) -> int:
  """Reads `2GiB`, `1.5 GiB`, `800MiB`, `64KiB` or a number of bytes.

  Raises:
    BadInput: for anything else, or nothing at all.
  """
  match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]iB|B|)", spec.strip())
  count = float(match[1]) * UNITS[match[2] or "B"] if match else 0.0
  if not 1 <= count < math.inf:
    raise BadInput(
      f"memory_budget={spec}: give a size such as 2GiB, 800MiB or 64KiB, or a number "
      "of bytes"
    )
  return int(count)
