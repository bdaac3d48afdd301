"""Where training runs: each core of a CPU as a device, and the memory of the process.

XLA spreads each operation of a program over the cores, and waits for all of them: at
every step of a recurrent network, for microseconds of work. With a device a core and
the batch spread over them, each core runs its own loop over time, and they meet once,
to add up the gradients. The same program runs on many accelerators, and on those of
many processes, each of which makes and holds its own columns of the batch.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unroll.train import TrainState
from unroll.types import BadInput

# Rows of a batch: fewer on a device do not pay for reading all weights on each of
# them; the weights of layers wider than WIDE are read from beyond a core's own cache.
ROWS, WIDE_ROWS, WIDE = 4, 16, 512
# Options of glibc's malloc, and the bytes of a thread's heap.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
HEAP = 2**26
_alike = False  # see `alike`
_one_heap: bool | None = None  # what `keep_memory` chose for the threads


class Settled(Exception):
  """A run asks for other devices or heaps than its process has, for good."""


@contextlib.contextmanager
def alike() -> Iterator[None]:
  """Has `divide` and `keep_memory` raise `Settled` where they come too late.

  It is for a process of many runs, each of which is to be as in a process of its own;
  elsewhere a run takes what is there.
  """
  global _alike
  _alike = True
  try:
    yield
  finally:
    _alike = False


def cores() -> int:
  """How many cores this process may use: NPROC, which XLA reads too, or all it has."""
  if (nproc := os.environ.get("NPROC", "")).isdecimal():
    return max(int(nproc), 1)
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not every system has it
    return os.cpu_count() or 1


def missing() -> str | None:
  """The platforms that JAX is told to use, if it has none of them; else None."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError):  # the second for one it knows of
    return jax.config.values["jax_platforms"]
  return None


def divide(spec: str, batch: int, width: int, processes: int = 1) -> int:
  """Makes the CPU as many devices as this process spreads its rows over, and counts.

  It is for the start of a process: once JAX has looked for its devices, those stay.

  Args:
    spec: a number, or `auto`: as many as have 4 rows each, or 16 where layers are
      wider than 512.
    batch: B, of all processes together.
    width: H of the layers.
    processes: how many there are.

  Raises:
    BadInput: for another spec, more than there are, or a number that does not divide
      the batch.
  """
  if batch % processes:
    raise BadInput(
      f"batch={batch} cannot be shared evenly by processes={processes}: make it a "
      "multiple"
    )
  rows = batch // processes
  _make_devices(named_count(spec, rows, width, cores()))
  return named_count(spec, rows, width, min(map(len, _by_process())))


def named_count(spec: str, rows: int, width: int, most: int) -> int:
  """Reads a number of devices of a process, of which it has `most`: see `divide`."""
  least = WIDE_ROWS if width > WIDE else ROWS
  dividing = [n for n in range(1, most + 1) if rows % n == 0]
  if spec == "auto":
    return max(n for n in dividing if n == 1 or rows // n >= least)
  if spec.isdecimal() and int(spec) in dividing:
    return int(spec)
  raise BadInput(
    f"devices={spec}: choose auto or one of {', '.join(map(str, dividing))}, as many "
    f"as divide the {rows} rows of a batch that a process has, and are there"
  )


def _make_devices(count: int) -> None:
  """Makes the CPU so many devices, unless it has some already."""
  try:
    jax.config.update("jax_num_cpu_devices", count)
  except RuntimeError:
    if _alike and jax.default_backend() == "cpu" and jax.device_count() != count:
      raise Settled from None


def _by_process() -> list[list[jax.Device]]:
  devices: list[list[jax.Device]] = [[] for _ in range(jax.process_count())]
  for device in jax.devices():
    devices[device.process_index].append(device)
  return devices


def divide_arms(spec: str, arms: int) -> int:
  """Makes the CPU as many devices as arms are to be spread over, and counts them.

  It is for the start of a process, as `divide` is.

  Args:
    spec: a number, or `auto`: all there are.
    arms: how many; there is at least one for each device.

  Raises:
    BadInput: for another spec, or more than there are devices or arms.
  """
  _make_devices(_up_to(spec, min(arms, cores())))
  return _up_to(spec, min(arms, jax.device_count()))


def _up_to(spec: str, most: int) -> int:
  if spec == "auto":
    return most
  if spec.isdecimal() and 1 <= int(spec) <= most:
    return int(spec)
  raise BadInput(
    f"devices={spec}: choose auto or a number from 1 to {most}, as many as there are "
    "and have an arm each"
  )


def keep_memory(rows: int = 0, steps: float = 0, units: int = 0) -> None:
  """Lets the process keep the memory that it frees; for good, and glibc only.

  By default the system hands out a large array at every call of a program, page by
  page and zeroed, and takes it back afterwards. That is a third of the time of a small
  layer.

  Each thread keeps its own heap, as glibc has it: threads that share one search through
  the free blocks of all of them, up to a tenth of the time of a small training step. An
  array larger than `HEAP` does not fit a thread's heap and would come from the system
  again, so if the largest array exceeds `HEAP`, all threads share one heap. glibc asks
  for the number of heaps when a thread starts: call this before JAX looks for its
  devices.

  Args:
    rows: B, of a device if that is known; 0: not known yet.
    steps: T.
    units: H of all layers together, and V.
  """
  global _one_heap
  # Four gates, two states and their gradients, of 4 bytes each.
  large = 32 * rows * steps * units >= HEAP
  if rows:
    if _alike and _one_heap not in (None, large):
      raise Settled
    _one_heap = large
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt:
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 2 * HEAP)  # or an empty heap is given back as a whole
    if large:
      mallopt(M_ARENA_MAX, 1)


class Spread:
  """A batch spread over the devices of all processes, all else on each of them.

  Args:
    count: devices of each process.
  """

  def __init__(self, count: int):
    devices = [device for of_one in _by_process() for device in of_one[:count]]
    self.count = len(devices)
    self._mesh = Mesh(np.array(devices), ("batch",))

  def state(self, state: TrainState) -> TrainState:
    """The shardings of a training state: its carry and memory `[B, ...]` are spread."""
    whole = jax.tree.map(lambda leaf: self.whole, state)
    spread = (state.carry, state.memory)
    carry, memory = jax.tree.map(lambda leaf: self.rows(leaf, 0), spread)
    return whole._replace(carry=carry, memory=memory)

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

  def columns(self, batch: int) -> slice:
    """Which of B columns this process makes, where they divide by the devices."""
    width = batch // jax.process_count()
    return slice(jax.process_index() * width, (jax.process_index() + 1) * width)

  def put(self, tree: Any, shardings: Any) -> Any:
    """Places arrays of which every process has the whole, and the same."""
    if jax.process_count() == 1:
      return jax.device_put(tree, shardings)

    def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
      host = np.array(leaf)
      return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    return jax.tree.map(place, tree, shardings)

  def join(self, parts: Any, axis: int) -> Any:
    """Makes arrays of the parts along the batch that each process has.

    Args:
      parts: arrays of this process's part.
      axis: that of the batch.
    """

    def place(leaf: np.ndarray) -> jax.Array:
      shape = list(leaf.shape)
      shape[axis] *= jax.process_count()
      sharding = NamedSharding(self._mesh, PartitionSpec(*[None] * axis, "batch"))
      return jax.make_array_from_process_local_data(sharding, leaf, tuple(shape))

    return jax.tree.map(place, parts)

  def gathered(self, state: TrainState) -> TrainState:
    """The state, all of it in each process; all must ask for it."""
    if jax.process_count() == 1:
      return state
    spread = (state.carry, state.memory)
    carry, memory = multihost_utils.process_allgather(spread, tiled=True)
    return state._replace(carry=carry, memory=memory)
