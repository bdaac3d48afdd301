"""Processes, one for each contestant, that measure in turn."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.shapes import Shape
from bench.timing import summary


class Contestant(NamedTuple):
  """Who is measured.

  Attributes:
    name: the column of the table.
    library: the file in `libraries/`.
    options: what it is built with, beside the shape.
    devices: what the CPU is divided into, where the library can use that.
    keeps: whether its process keeps the memory that it frees.
  """

  name: str
  library: str
  options: Mapping[str, Any] = {}
  devices: int = 1
  keeps: bool = True


class Row(NamedTuple):
  """What was measured of one shape: JSON, by contestant.

  A result is `{"seconds": [[…] of each round], "minimum": s, "median": s, …}`, or
  `{"error": reason}`.
  """

  shape: Shape
  results: dict[str, dict[str, Any]]


class Failed(Exception):
  """A contestant that could not be measured, and why."""


def race(
  contestants: Sequence[Contestant],
  suite: str,
  shape: Shape,
  rounds: int,
  *,
  fresh: bool = False,
) -> Row:
  """Measures every contestant once a round; who begins moves on from round to round.

  Args:
    contestants: who is measured.
    suite: of what.
    shape: with what shape.
    rounds: how often.
    fresh: takes a new process each time, for what can be measured only once in one.
  """
  answers: dict[str, list[dict[str, Any]]] = {each.name: [] for each in contestants}
  errors: dict[str, str] = {}
  with contextlib.ExitStack() as running:
    workers = [_Worker(each, suite, shape, fresh) for each in contestants]
    for worker in workers:
      running.callback(worker.stop)
    for first in range(rounds):
      for turn in range(len(workers)):
        worker = workers[(first + turn) % len(workers)]
        name = worker.contestant.name
        if name in errors:
          continue
        try:
          answers[name].append(worker.measure())
        except Failed as failure:
          errors[name] = str(failure)
  results = {
    name: {"error": errors[name]} if name in errors else _result(each)
    for name, each in answers.items()
  }
  return Row(shape, results)


def _result(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
  seconds = [answer["seconds"] for answer in answers]
  return {**answers[-1], "seconds": seconds, **summary(seconds)._asdict()}


class _Worker:
  """The process of one contestant, started when it is first asked."""

  def __init__(self, contestant: Contestant, suite: str, shape: Shape, fresh: bool):
    self.contestant = contestant
    self._fresh = fresh
    self._request = json.dumps(
      {
        "library": contestant.library,
        "suite": suite,
        "shape": shape._asdict(),
        "options": dict(contestant.options),
        "devices": contestant.devices,
        "keeps": contestant.keeps,
        "fresh": fresh,
      }
    )
    self._process: subprocess.Popen[str] | None = None
    self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115

  def measure(self) -> dict[str, Any]:
    if self._process is None:
      self._process = subprocess.Popen(
        [sys.executable, "-m", "bench.worker", self._request],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=self._log,
        env=_environment(),
        text=True,
      )
    process = self._process
    assert process.stdin and process.stdout
    with contextlib.suppress(BrokenPipeError):
      print(file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
      raise Failed(self._last_words(process.wait()))
    if self._fresh:
      self._end()
    answer = json.loads(line)
    if "error" in answer:
      raise Failed(answer["error"])
    return answer

  def stop(self) -> None:
    self._end()
    self._log.close()

  def _end(self) -> None:
    if self._process is None:
      return
    try:
      self._process.communicate(timeout=5)  # no more requests: it ends, and cleans up
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.communicate()
    self._process = None

  def _last_words(self, code: int) -> str:
    self._log.seek(0)
    lines = [line.strip() for line in self._log if line.strip()]
    return f"ended with {code}: {lines[-1] if lines else 'no word why'}"


def _environment() -> dict[str, str]:
  """The same for every library."""
  environment = {
    "JAX_PLATFORMS": "cpu",
    **os.environ,
    "KERAS_BACKEND": "jax",
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
  }
  # What was compiled before would not be compiled here.
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  return environment
