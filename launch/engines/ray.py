"""Processes as tasks of a Ray cluster; of Ray, nothing but its core.

A task keeps its command as a child on the node where Ray places it. A command whose
node dies is started again on another one: what it does must bear that.
"""

import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray
from ray.exceptions import RayError

from launch.engines.local import GRACE, Local
from unroll.errors import BadInput

PATIENCE = 10.0  # seconds, for a cluster to answer
PAUSE = 0.1  # seconds between two looks at a child


class RayProcess:
  """A task of the cluster."""

  def __init__(self, task: "ray.ObjectRef[None]"):
    self._task = task

  def running(self) -> bool:
    """Whether it has not ended; one that waits for a free node has not."""
    # Without a cluster, after `close`, Ray would look for one, or start it.
    return ray.is_initialized() and not ray.wait([self._task], timeout=0)[0]

  def stop(self) -> None:
    """Asks it to end, with SIGTERM, and does not wait."""
    if self.running():
      ray.cancel(self._task)

  def end(self, within: float) -> None:
    """Waits for its end, so many seconds at most."""
    ray.wait([self._task], timeout=max(within, 0))


class Ray:
  """A Ray cluster, whose nodes share the folders and the Python of this machine.

  Args:
    address: of a running cluster, `HOST:PORT` or `auto`; empty: one of this machine
      alone, until `close`. One that asks for a token takes it from RAY_AUTH_TOKEN,
      if RAY_AUTH_MODE is `token`: both are to be as on its nodes.
    cores: that each process takes.

  Raises:
    BadInput: if there is no cluster at the address.
  """

  def __init__(self, address: str = "", cores: int = 1):
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report home
    handler = signal.getsignal(signal.SIGTERM)
    if not address:  # a token of this cluster's own, rather than one in a file at home
      os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
      _knock(address)
      ray.init(
        address or "local",
        include_dashboard=None if address else False,
        log_to_driver=False,
        logging_level=logging.ERROR,
      )
    except (OSError, RayError, RuntimeError, ValueError) as error:
      reason = str(error).partition("\n")[0].rstrip(".")
      raise BadInput(
        f"--address={address}: no Ray cluster answers ({reason}); if it asks for a "
        "token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its nodes"
        if address
        else f"--on=ray: no Ray can be started here ({reason}); try --on=local"
      ) from None
    finally:
      signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own in its place
    # A worker's process ends with its task, and with it what the task may have left.
    self._run = ray.remote(num_cpus=cores, max_retries=-1, max_calls=1)(_run)
    self._processes: list[RayProcess] = []

  def start(self, command: Sequence[str], log: Path) -> RayProcess:
    """Starts a command, its standard output and error appended to a file."""
    here, environment = os.getcwd(), dict(os.environ)
    task = self._run.remote(list(command), str(log.resolve()), here, environment)
    self._processes.append(RayProcess(task))
    return self._processes[-1]

  def close(self) -> None:
    """Stops what still runs, waits for its end, and leaves the cluster."""
    for process in self._processes:
      process.stop()
    deadline = time.monotonic() + GRACE + 1
    for process in self._processes:
      process.end(deadline - time.monotonic())
    self._processes.clear()
    ray.shutdown()


def _knock(address: str) -> None:
  """OSError if nobody listens there, for which Ray would wait two minutes and more."""
  host, _, port = address.rpartition(":")
  if port.isdecimal():
    socket.create_connection((host, int(port)), PATIENCE).close()


def _run(
  command: Sequence[str], log: str, cwd: str, environment: Mapping[str, str]
) -> None:
  """The task: a child as on one's own machine, which a cancelled task stops."""
  local = Local(cwd, environment)
  try:
    process = local.start(command, Path(log))
    while process.running():
      time.sleep(PAUSE)  # in slices: a cancellation comes between two of them
  finally:
    local.close()
