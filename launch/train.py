"""One model trained by several processes, on this machine or a cluster.

  python -m launch.train --processes=2 experiments.charlm --batch=64 --minutes=5
  python -m launch.train --processes=4 --on=slurm experiments.charlm --workdir=RUN

Each has its part of every batch, and the sum of the gradients is that of one process.
When one dies, the others are stopped and all start again from the last checkpoint. The
same command with the same --workdir goes on where it was stopped, also with another
number of processes.
"""

import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from absl import flags

from launch import engines, paths, run
from launch.main import fail, run_main, say
from launch.meeting import PAUSE, Meeting
from unroll import stops
from unroll.errors import BadInput

FLAGS = flags.FLAGS

flags.DEFINE_integer("processes", 2, "that share each batch", lower_bound=1)
flags.DEFINE_enum("on", "local", ["local", "ray", "slurm"], "where they run")
flags.DEFINE_integer(
  "cores", None, "of each; not given: what the machine has, shared", lower_bound=1
)
flags.DEFINE_string("address", "", "of a Ray cluster; empty: Ray on this machine alone")
flags.DEFINE_string("slurm", "", "options of sbatch, as in partition=main,time=60")
flags.DEFINE_integer(
  "restarts", 3, "in a row that no checkpoint came of", lower_bound=0
)
paths.DEFINE_path("workdir", "", "the run's folder; new under runs/ if empty")
flags.DEFINE_bool("overwrite", False, "starts afresh in a folder that holds a run")

GRACE = 30.0  # seconds that the others have to see that one has died


def main(arguments: Sequence[str]) -> None:
  """Trains the experiment of a command line, whose flags follow its name."""
  if not arguments or arguments[0].startswith("-"):
    raise BadInput(
      "what is to be trained comes first: python -m launch.train experiments.charlm"
    )
  stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
  name = arguments[0].rpartition(".")[2]
  workdir = Path(FLAGS.workdir or Path("runs", name, stamp))
  command = [sys.executable, "-m", *arguments, f"--workdir={workdir}"]
  sys.exit(_train(command, workdir))


def _train(command: Sequence[str], workdir: Path) -> int:
  """Runs the gang until it is through; the exit code."""
  absent = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
  before, failures = _written(workdir), 0
  with stops.collected() as asked:
    while True:
      reached = run.reached([workdir])
      try:
        meeting = Meeting.called(workdir / "gang")
      except OSError as error:
        raise BadInput(
          f"--workdir={workdir} cannot be made ({error.strerror}): give another folder"
        ) from None
      # Once it has been obeyed, a restart must not obey it again.
      afresh = FLAGS.overwrite and _written(workdir) == before
      codes = _attempt([*command, *["--overwrite"] * afresh], meeting, asked)
      if all(code == 0 for code in codes):
        return 0
      if run.BAD_INPUT in codes:
        _explain(meeting, codes.index(run.BAD_INPUT))
        _clear(meeting, absent)
        return run.BAD_INPUT
      if asked:
        return 130
      failures = 0 if run.reached([workdir]) > reached else failures + 1
      how = ", ".join(_how(own, code) for own, code in enumerate(codes) if code != 0)
      if failures > FLAGS.restarts:
        fail(f"{how}; so ended {failures} attempts in a row, see {meeting.path}", 1)
      say(f"{how}; starting again from step {run.reached([workdir])}")
      _pause(2.0**failures - 1, asked)


def _attempt(
  command: Sequence[str], meeting: Meeting, asked: Sequence[int]
) -> list[int | None]:
  """Runs all processes until they have ended; the death of one ends all.

  Returns:
    Their exit codes; None for one that could not say.
  """
  everyone = range(FLAGS.processes)
  engine = engines.named_engine(
    FLAGS.on, cores=FLAGS.cores, address=FLAGS.address, slurm=FLAGS.slurm
  )
  shown = [
    _Shown(meeting.log(0), sys.stderr.buffer),
    _Shown(meeting.output(0), sys.stdout.buffer),
  ]
  with contextlib.closing(engine):
    rank = [sys.executable, "-m", "launch.rank", str(meeting.gang.resolve())]
    processes = [
      engine.start(
        [*rank, *map(str, (meeting.attempt, own, FLAGS.processes)), "--", *command],
        meeting.log(own),
      )
      for own in everyone
    ]
    stopped, deadline = False, float("inf")
    while any(running := [process.running() for process in processes]):
      codes = [meeting.code(own) for own in everyone]
      died = any(
        code or (code is None and not runs) for code, runs in zip(codes, running)
      )
      if (died or asked) and not stopped:
        stopped = True
        for process in processes:
          process.stop()
      if died:
        deadline = min(deadline, time.monotonic() + GRACE)
      if time.monotonic() > deadline:
        break
      for file in shown:
        file.forward()
      time.sleep(PAUSE)
  for file in shown:
    file.forward()
  return [meeting.code(own) for own in everyone]


class _Shown:
  """A file that is being written, passed on to a stream."""

  def __init__(self, path: Path, stream: BinaryIO):
    self._path, self._stream, self._offset = path, stream, 0

  def forward(self) -> None:
    """Writes what is new."""
    with contextlib.suppress(FileNotFoundError), open(self._path, "rb") as file:
      file.seek(self._offset)
      new = file.read()
      self._offset += len(new)
      self._stream.write(new)
      self._stream.flush()


def _explain(meeting: Meeting, process: int) -> None:
  """Shows the sentence of a process, unless process 0, which is shown, said it too."""
  shown, said = (
    meeting.log(own).read_text("utf-8", "replace").splitlines() for own in (0, process)
  )
  sentences = [line for line in said if line.startswith("error: ")][-1:]
  if sentences and sentences[0] not in shown:
    print(sentences[0], file=sys.stderr)


def _clear(meeting: Meeting, absent: Sequence[Path]) -> None:
  """Takes away what was written for an attempt that could not begin."""
  shutil.rmtree(meeting.path)
  with contextlib.suppress(OSError):  # what is not empty stays
    meeting.gang.rmdir()
    for folder in absent:
      folder.rmdir()


def _how(process: int, code: int | None) -> str:
  if code is None:
    return f"process {process} is gone"
  return f"process {process} ended with exit code {code}"


def _written(workdir: Path) -> tuple[int, int] | None:
  """Which configuration is there: another one after an --overwrite."""
  try:
    status = os.stat(workdir / "config.json")
  except OSError:
    return None
  return status.st_ino, status.st_mtime_ns


def _pause(seconds: float, asked: Sequence[int]) -> None:
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline and not asked:
    time.sleep(PAUSE)


if __name__ == "__main__":
  run_main(main)
