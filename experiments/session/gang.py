"""Several processes that train one model: they start, decide and end together.

Each runs the same program on its own columns of the batch. What one of them alone can
know, a file or the time or a signal, the others are told before they act on it: a
process that took another turn would leave them waiting in a collective for ever.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from experiments.session import output
from unroll import devices, loop
from unroll.errors import sentence
from unroll.run import Progress
from unroll.settings import setting
from unroll.train import Control, StepMetrics, TrainState
from unroll.types import BadInput

BIND = "JAX_COORDINATOR_BIND_ADDRESS"  # where process 0 listens, if set
HEARTBEAT = 10  # seconds without one, after which a process is taken for dead
NO_CONTROL = Control(*np.zeros(len(Control._fields), np.float32))
Result = TypeVar("Result")
# Of this process among those that train together; as `joined` was told.
_number, _count = 0, 1


@dataclass(frozen=True)
class Processes:
  """Processes"""

  coordinator: str = setting("", "host:port where process 0 listens", role="call")
  processes: int = setting(
    1, "processes that share the batch; launch.train starts them", least=1, role="call"
  )
  process: int = setting(
    0, "which of the processes this is, from 0", least=0, role="call"
  )


class Busy(BadInput):
  """What was asked for is in use by another process: try again later."""


@contextlib.contextmanager
def joined(wanted: Processes) -> Iterator[None]:
  """Meets the other processes, before JAX looks for its devices; does nothing alone.

  An error that no one foresaw, or that another process has died of, ends this process
  at once: the others must not wait for it, nor it for them.

  Args:
    wanted: how many there are, and which this is.

  Raises:
    BadInput: for numbers that cannot be.
  """
  global _number, _count
  if wanted.process >= wanted.processes:
    raise BadInput(
      f"process={wanted.process}: processes={wanted.processes} are numbered from 0 to "
      f"{wanted.processes - 1}"
    )
  if wanted.processes == 1:
    yield
    return
  host, _, port = wanted.coordinator.rpartition(":")
  if not host or not port.isdecimal():
    raise BadInput(
      f"coordinator={wanted.coordinator}: give the host:port where process 0 is to "
      "listen"
    )
  _number, _count = wanted.process, wanted.processes
  # What gloo prints of itself is no result.
  sys.stdout = output.Stream(os.fdopen(os.dup(1), "w"))
  os.dup2(2, 1)
  jax.distributed.initialize(
    wanted.coordinator,
    wanted.processes,
    wanted.process,
    cluster_detection_method="deactivate",
    # Whoever reaches it may take part: by itself it would listen on all interfaces.
    coordinator_bind_address=os.environ.get(BIND, wanted.coordinator),
    heartbeat_timeout_seconds=HEARTBEAT,
  )
  # JAX has taken it, for a service that is not used here, and would not end for it.
  signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
  try:
    yield
  except (BadInput, OSError):
    raise
  except Exception as error:
    if "Gloo" in str(error) or isinstance(error, jax.errors.JaxRuntimeError):
      said = "start all of them again, they go on from the last checkpoint"
      print(f"error: another process of the run has died: {said}", file=sys.stderr)
      _end(os.EX_TEMPFAIL)
    traceback.print_exc()
    _end(1)
  jax.distributed.shutdown()  # waits for those that still write


def speaks() -> bool:
  """Whether this process is the one that writes files and tells people."""
  return _number == 0


def many() -> bool:
  """Whether other processes take part in the run."""
  return _count > 1


def leave(code: int) -> NoReturn:
  """Ends this process with an exit code, whatever becomes of the others.

  Those that end for the same reason do so in good order; the others are waited for as
  long as for a heartbeat.
  """
  if jax.distributed.is_initialized():
    timer = threading.Timer(HEARTBEAT, _end, (code,))
    timer.daemon = True
    timer.start()
    jax.distributed.shutdown()
  sys.exit(code)


def _end(code: int) -> NoReturn:
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def told(call: Callable[[], Result]) -> Result:
  """What `call` gives in process 0, which alone calls it, in every process.

  Args:
    call: gives something that JSON can hold, or raises BadInput or OSError.

  Raises:
    BadInput: in every process, if `call` does so in process 0.
  """
  if jax.process_count() == 1:
    return call()
  said: dict[str, Any] = {}
  if speaks():
    try:
      said = {"result": call()}
    except BadInput as error:
      said = {"refused": str(error), "busy": isinstance(error, Busy)}
    except OSError as error:
      said = {"refused": sentence(error), "busy": False}
  text = np.frombuffer(json.dumps(said).encode(), np.uint8)
  size = multihost_utils.broadcast_one_to_all(np.int32(text.size))
  text = text if speaks() else np.zeros(size, np.uint8)
  said = json.loads(multihost_utils.broadcast_one_to_all(text).tobytes())
  if "refused" in said:
    raise (Busy if said["busy"] else BadInput)(said["refused"])
  return said["result"]


def shaped(make: Callable[[], Any]) -> Any:
  """What `make` gives, in process 0; zeros in that shape elsewhere, to be filled."""
  if speaks():
    return make()
  return jax.tree.map(
    lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make)
  )


def restored(
  state: TrainState, restore: Callable[[TrainState], tuple[TrainState, Progress]]
) -> tuple[TrainState, Progress]:
  """State and progress as process 0 restores them, in every process.

  Args:
    state: before its first step; where this is not process 0, shapes of it.
    restore: reads the newest checkpoint; called in process 0 alone.
  """
  if jax.process_count() == 1:
    return restore(state)

  def newest() -> dict[str, Any]:
    nonlocal state
    state, progress = restore(state)
    return progress.to_json()

  progress = Progress.from_json(told(newest))
  return multihost_utils.broadcast_one_to_all(state), progress


Question = Callable[[], bool]


def agreed(
  spread: devices.Spread, program: loop.Program, asked: Question
) -> tuple[loop.Program, Question, Callable[[bool], bool]]:
  """What `loop.fit` needs to take the same turns in every process.

  The processes vote once a dispatch, in a program of its own that is queued before it:
  by the time its result is asked for, it is there. One clock is enough for an end of
  time, and one signal for a stop.

  Args:
    spread: over the devices of all.
    program: of one run.
    asked: whether this process was asked to stop.

  Returns:
    The program, and the `stop` and `late` of `loop.fit`.
  """
  if jax.process_count() == 1:
    return program, asked, lambda late: late
  votes = _Votes(spread, asked)

  def dispatch(
    state: TrainState, batches: Any, counts: list[int], controls: list[Control]
  ) -> tuple[TrainState, StepMetrics]:
    return program.dispatch(state, batches, counts, [votes.cast(controls[0])])

  def evaluate(state: TrainState) -> Sequence[dict[str, float]]:
    numbers = program.evaluate(state)
    votes.idle = True
    return numbers

  both = program._replace(dispatch=dispatch, evaluate=evaluate)
  return both, lambda: votes.stopped, votes.late


class _Votes:
  """What the processes agree on: all do what the furthest of them wants."""

  def __init__(self, spread: devices.Spread, asked: Callable[[], bool]):
    self._spread, self._asked = spread, asked
    self._own = spread.count // jax.process_count()
    self._late = False  # by the clock of this process
    self._answer = np.zeros(2, np.float32)
    self.idle = True  # nothing is queued that an answer would have to wait for

    def count(votes):
      most = jnp.max(votes, axis=0)
      told = len(Control._fields)
      return Control(*most[:told]), most[told:]

    self._count = jax.jit(count, out_shardings=spread.whole)

  def cast(self, control: Control = NO_CONTROL) -> Control:
    """Votes; gives the control of all."""
    vote = np.array([*control, self._late, self._asked()], np.float32)
    votes = self._spread.join(np.tile(vote, (self._own, 1)), 0)
    control, self._answer = self._count(votes)
    self.idle = False
    return control

  def late(self, late: bool) -> bool:
    """Whether time is up for all, as of the last vote."""
    self._late = late
    if self.idle:
      self.cast()
    return bool(np.asarray(self._answer)[0])

  @property
  def stopped(self) -> bool:
    """Whether someone asked for a stop, as of the last vote."""
    return bool(np.asarray(self._answer)[1])


def alone(make: Callable[[], Result]) -> "Result | Silent":
  """What `make` gives in process 0; the others have something silent in its place."""
  return make() if speaks() else Silent()


class Silent:
  """Stands for log, checkpoints and display in the processes that have none."""

  def __enter__(self) -> "Silent":
    return self

  def __exit__(self, *error: Any) -> None:
    pass

  def write(self, *args: Any, **kwargs: Any) -> None:
    """Does nothing."""

  save = show = sync = check = write
