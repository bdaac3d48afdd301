"""Where training runs: the cores of a CPU as devices of their own, and its memory.

XLA spreads each operation of a program over the cores, and waits for all of them: at
every step of a recurrent network, for microseconds of work. With a device a core and
the batch spread over them, each core runs its own loop over time, and they meet once,
to add up the gradients. The same program runs on many accelerators.
"""

import contextlib
import ctypes
import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unroll.train import TrainState
from unroll.types import BadInput

ROWS = 16  # of a batch: fewer on a device do not pay for reading all weights twice
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def cores() -> int:
  """How many cores this process may run on."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not every system has it
    return os.cpu_count() or 1


def divide(spec: str, batch: int) -> int:
  """Makes the CPU as many devices as a batch is to be spread over, and counts them.

  It is for the start of a process: once JAX has looked for its devices, those stay.

  Args:
    spec: a number, or `auto`: as many as have 16 rows each.
    batch: B.

  Raises:
    BadInput: for another spec, more than there are, or a number that does not divide
      the batch.
  """
  with contextlib.suppress(RuntimeError):  # raised where it is too late
    jax.config.update("jax_num_cpu_devices", named_count(spec, batch, cores()))
  return named_count(spec, batch, jax.device_count())


def named_count(spec: str, batch: int, most: int) -> int:
  """Reads a number of devices, of which there are `most`: see `divide`."""
  dividing = [n for n in range(1, most + 1) if batch % n == 0]
  if spec == "auto":
    return max(n for n in dividing if n == 1 or batch // n >= ROWS)
  if spec.isdecimal() and int(spec) in dividing:
    return int(spec)
  raise BadInput(
    f"--devices={spec}: choose auto or one of {', '.join(map(str, dividing))}, as many "
    f"as divide --batch={batch} and are there"
  )


def divide_arms(spec: str, arms: int) -> int:
  """Makes the CPU as many devices as arms are to be spread over, and counts them.

  It is for the start of a process, as `divide` is.

  Args:
    spec: a number, or `auto`: all there are.
    arms: how many; there is at least one for each device.

  Raises:
    BadInput: for another spec, or more than there are devices or arms.
  """
  with contextlib.suppress(RuntimeError):  # raised where it is too late
    jax.config.update("jax_num_cpu_devices", _up_to(spec, min(arms, cores())))
  return _up_to(spec, min(arms, jax.device_count()))


def _up_to(spec: str, most: int) -> int:
  if spec == "auto":
    return most
  if spec.isdecimal() and 1 <= int(spec) <= most:
    return int(spec)
  raise BadInput(
    f"--devices={spec}: choose auto or a number from 1 to {most}, as many as there are "
    "and have an arm each"
  )


def keep_memory() -> None:
  """Lets the process keep the memory that it frees; for good, and glibc only.

  By default a large array comes from the system at every call of a program, page by
  page and zeroed, and goes back after it: a third of the time of a small layer.
  """
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt:
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_ARENA_MAX, 1)


class Spread:
  """A batch spread over devices, and everything else on each of them."""

  def __init__(self, count: int):
    self.count = count
    self._mesh = Mesh(np.array(jax.devices()[:count]), ("batch",))

  def state(self, state: TrainState) -> TrainState:
    """The shardings of a training state: its carry `[B, ...]` is spread."""
    whole = jax.tree.map(lambda leaf: self.whole, state)
    carry = jax.tree.map(lambda leaf: self.rows(leaf, 0), state.carry)
    return whole._replace(carry=carry)

  def batches(self, batches: Any) -> Any:
    """The shardings of batches `[steps, T, B]`; whole where B does not divide."""
    return jax.tree.map(lambda leaf: self.rows(leaf, 2), batches)

  @property
  def whole(self) -> NamedSharding:
    """The sharding of what every device has all of."""
    return NamedSharding(self._mesh, PartitionSpec())

  def rows(self, leaf: Any, axis: int) -> NamedSharding:
    """The sharding of one array whose `axis` is the batch; whole if it has none."""
    if np.ndim(leaf) <= axis or leaf.shape[axis] % self.count:
      return self.whole
    return NamedSharding(self._mesh, PartitionSpec(*[None] * axis, "batch"))
