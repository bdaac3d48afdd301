"""Processes as jobs of Slurm, by submitit.

The job of a command becomes that command: signals, output and exit code are its own.
What is asked of Slurm is the queue alone, as accounting is not installed everywhere.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import submitit

from unroll.errors import BadInput

POLL = 2.0  # seconds between two questions to Slurm, however many jobs there are
LAST_CALL = "B:TERM@90"  # SIGTERM so many seconds before the time of a job is over
GRACE = 60.0  # seconds until Slurm has killed what it was asked to stop


class SlurmProcess:
  """A job."""

  def __init__(self, queue: "Queue", job: str):
    self._queue, self._job = queue, job

  def running(self) -> bool:
    """Whether it is still in the queue, waiting or running."""
    return self._job in self._queue.jobs()

  def stop(self) -> None:
    """Asks it to end, with SIGTERM, or never to begin, and does not wait."""
    _cancel([self._job])


class Queue:
  """The jobs of this user that have not ended, as Slurm said last."""

  def __init__(self) -> None:
    self._jobs: set[str] = set()
    self._asked = -POLL

  def add(self, job: str) -> None:
    """Takes note of a job that was submitted since."""
    self._jobs.add(job)

  def jobs(self) -> set[str]:
    """Their numbers."""
    if time.monotonic() - self._asked >= POLL:
      command = ["squeue", "--noheader", "--format=%A", f"--user={os.getuid()}"]
      answer = subprocess.run(command, capture_output=True, text=True)
      if answer.returncode == 0:  # else it is out of reach, which says nothing of them
        self._jobs = set(answer.stdout.split())
      self._asked = time.monotonic()
    return self._jobs


class Slurm:
  """The Slurm cluster of this machine, whose nodes share its folders and its Python.

  Args:
    options: of sbatch, by their long names, as in `partition=main,time=60,gres=gpu:1`.
    cores: that each process takes.

  Raises:
    BadInput: if there is no Slurm here, or an option has no value.
  """

  def __init__(self, options: str = "", cores: int = 1):
    pairs = [option.partition("=") for option in options.split(",") if option]
    if bare := [name for name, _, value in pairs if not value]:
      raise BadInput(f"--slurm: {bare[0]} has no value: write {bare[0]}=VALUE")
    try:
      subprocess.run(["squeue", "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
      raise BadInput(
        "--on=slurm found no squeue here: run it where sbatch works, or --on=local"
      ) from None
    self._options = {name: value for name, _, value in pairs}
    self._cores = cores
    self._queue, self._jobs = Queue(), set[str]()

  def start(self, command: Sequence[str], log: Path) -> SlurmProcess:
    """Submits a command, its standard output and error appended to a file."""
    log = log.resolve()
    executor = submitit.SlurmExecutor(
      log.parent / "slurm", python=f"exec {shlex.quote(sys.executable)}"
    )
    output = str(log).replace("%", "%%")
    executor.update_parameters(
      job_name=log.stem,
      cpus_per_task=self._cores,
      time=None,  # the partition's, unless the options say
      use_srun=False,
      stderr_to_stdout=True,
      additional_parameters={"output": output, "signal": LAST_CALL, **self._options},
    )
    try:
      job = executor.submit(os.execvp, command[0], list(command)).job_id
    except submitit.core.utils.FailedJobError as error:
      reason = str(error).strip().splitlines()[-1]
      raise BadInput(f"--slurm: sbatch refused the job: {reason}") from None
    self._queue.add(job)
    self._jobs.add(job)
    return SlurmProcess(self._queue, job)

  def close(self) -> None:
    """Cancels what is still in the queue, and waits for its end."""
    deadline = time.monotonic() + GRACE
    if left := self._jobs & self._queue.jobs():
      _cancel(sorted(left))
    while self._jobs & self._queue.jobs() and time.monotonic() < deadline:
      time.sleep(POLL / 10)


def _cancel(jobs: Sequence[str]) -> None:
  """SIGTERM to all processes of each, and some time later SIGKILL, as Slurm is set."""
  subprocess.run(["scancel", "--quiet", *jobs], capture_output=True)
