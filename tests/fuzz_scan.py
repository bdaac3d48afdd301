"""A differential fuzz of `scan.unroll`: random programs against plain autodiff.

    python -m tests.fuzz_scan --programs=20000 --seed=0
    python -m tests.fuzz_scan --seed=0 --program=1234

Hypothesis draws the programs (`programs.py`) and shrinks what fails; `differential.py`
says what is right. Most programs are traced and evaluated in NumPy
(`interpreter.py`); compiled are those of a mesh and of bfloat16, and one in ten.
"""

import argparse
import collections
import contextlib
import random
import re
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import jax

from tests.differential import Finding, check
from tests.programs import Program, features, programs


class Failure(NamedTuple):
  """A program with a finding."""

  index: int
  program: Program
  details: str


def bytes_of(seed: int, index: int) -> bytes:
  """What a program is drawn from: as many as the longest takes."""
  return random.Random(f"{seed} {index}").randbytes(4096)


def of_programs(test: Callable[[Program], None], **options: Any) -> Callable[[], None]:
  """A test of programs, as hypothesis has it."""
  return hypothesis.settings(deadline=None, **options)(
    hypothesis.given(program=programs())(test)
  )


def drawn(seed: int, index: int) -> Program:
  """The program of a seed and an index."""
  found: list[Program] = []
  test = of_programs(lambda program: found.append(program), database=None)
  test.hypothesis.fuzz_one_input(bytes_of(seed, index))
  (program,) = found
  return program


def is_compiled(index: int) -> bool:
  """Whether a program is compiled that need not be."""
  return index % 10 == 0


def shrunk(seed: int, failure: Failure, kind: str, tries: int) -> Failure:
  """The simplest program with the same kind of finding that so many tries lead to."""
  verdicts: dict[str, Finding | str] = {}
  simplest = failure

  class Found(Exception):
    pass

  def test(program: Program) -> None:
    nonlocal simplest
    name = repr(program)
    if name not in verdicts:
      if len(verdicts) >= tries:
        return
      verdicts[name] = check(program, is_compiled(failure.index))
    verdict = verdicts[name]
    if isinstance(verdict, Finding) and verdict.kind == kind:
      if len(name) < len(repr(simplest.program)):
        simplest = failure._replace(program=program, details=verdict.details)
      raise Found

  # What fails is kept in the database; a run of the test then starts from there.
  whole = of_programs(
    test,
    database=hypothesis.database.InMemoryExampleDatabase(),
    phases=[hypothesis.Phase.reuse, hypothesis.Phase.shrink],
  )
  with contextlib.suppress(Found):
    whole.hypothesis.fuzz_one_input(bytes_of(seed, failure.index))
  with contextlib.suppress(Found, hypothesis.errors.HypothesisException):
    whole()
  return simplest


def main() -> int:
  """The command line; 1 if anything is found."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--programs", type=int, default=20000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--program", type=int, help="the index of one program, alone")
  parser.add_argument(
    "--only", help="programs with a feature that this expression is in"
  )
  parser.add_argument(
    "--shrink", type=int, default=0, help="tries for a kind of finding"
  )
  args = parser.parse_args()
  jax.config.update("jax_num_cpu_devices", 2)
  jax.config.update("jax_numpy_rank_promotion", "raise")
  begin = said = time.monotonic()
  verdicts: collections.Counter[str] = collections.Counter()
  coverage: collections.Counter[str] = collections.Counter()
  failures: dict[str, list[Failure]] = {}
  indices = range(args.programs)
  if args.program is not None:
    indices = range(args.program, args.program + 1)
  for index in indices:
    program = drawn(args.seed, index)
    names = set(features(program))
    if args.only and not any(re.search(args.only, name) for name in names):
      continue
    coverage.update(names)
    verdict = check(program, is_compiled(index))
    if isinstance(verdict, Finding):
      some = failures.setdefault(verdict.kind, [])
      if not some:
        print(f"--seed={args.seed} --program={index}: {verdict.kind}", flush=True)
      some.append(Failure(index, program, verdict.details))
      verdict = "finding"
    verdicts[verdict] += 1
    if time.monotonic() - said > 60:
      said = time.monotonic()
      print(f"{said - begin:.0f} s: {dict(verdicts)}", flush=True)
    if index % 500 == 499:
      jax.clear_caches()  # of what will never be run again
  if len(indices) > 1:
    print("coverage, in programs:")
    for name, count in sorted(coverage.items()):
      print(f"{count:8} {name}")
  print(f"{verdicts.total()} programs in {time.monotonic() - begin:.0f} s:")
  for name, count in verdicts.most_common():
    print(f"{count:8} {name}")
  for kind, some in sorted(failures.items(), key=lambda item: -len(item[1])):
    failure = min(some, key=lambda failure: len(repr(failure.program)))
    print(f"\n{len(some)} of them: {kind}")
    print(f"  --seed={args.seed} --program={failure.index}")
    if args.shrink:
      failure = shrunk(args.seed, failure, kind, args.shrink)
    print(f"  {failure.program}\n  {failure.details[:1000]}", flush=True)
  return 1 if failures else 0


if __name__ == "__main__":
  sys.exit(main())
