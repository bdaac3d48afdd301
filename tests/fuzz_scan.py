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
from collections.abc import Iterator
from typing import NamedTuple

import hypothesis
import jax

from tests.differential import Finding, check
from tests.programs import Program, features, programs

BLOCK = 500  # programs drawn from one seed


class Failure(NamedTuple):
  """A program with a finding."""

  index: int
  program: Program
  details: str


def block(seed: int, number: int, size: int = BLOCK) -> list[Program]:
  """The first programs of a block, all different: the same for a seed and a number."""
  found: dict[str, Program] = {}

  def enough(program: Program) -> bool:
    found[repr(program)] = program
    return len(found) == size

  with contextlib.suppress(hypothesis.errors.NoSuchExample):
    _find(seed, number, enough, hypothesis.Phase.generate)
  return list(found.values())


def _find(seed: int, number: int, condition, *phases: hypothesis.Phase) -> Program:
  return hypothesis.find(
    programs(),
    condition,
    settings=hypothesis.settings(
      max_examples=BLOCK, database=None, deadline=None, phases=phases
    ),
    random=random.Random(f"{seed} {number}"),
  )


def numbered(seed: int, count: int) -> Iterator[tuple[int, Program]]:
  """The first programs of a seed, each with its index."""
  number = 0
  while count > 0:
    some = block(seed, number, min(count, BLOCK))
    yield from enumerate(some, start=number * BLOCK)
    count -= len(some)
    number += 1


def is_compiled(index: int) -> bool:
  """Whether a program is compiled that need not be."""
  return index % 10 == 0


def shrunk(seed: int, failure: Failure, kind: str, tries: int) -> Failure:
  """The simplest program with the same kind of finding that so many tries lead to."""
  verdicts: dict[str, Finding | str] = {}
  own, met = repr(failure.program), False  # until which all is as it was drawn

  def fails(program: Program) -> bool:
    nonlocal met
    name = repr(program)
    met = met or name == own
    if not met or (name not in verdicts and len(verdicts) >= tries):
      return False
    if name not in verdicts:
      verdicts[name] = check(program, is_compiled(failure.index))
    verdict = verdicts[name]
    return isinstance(verdict, Finding) and verdict.kind == kind

  try:
    simplest = _find(seed, failure.index // BLOCK, fails, *hypothesis.Phase)
  except hypothesis.errors.HypothesisException:
    return failure
  return failure._replace(program=simplest, details=verdicts[repr(simplest)].details)


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
  stream = numbered(args.seed, args.programs)
  if args.program is not None:
    number, place = divmod(args.program, BLOCK)
    stream = iter([(args.program, block(args.seed, number)[place])])
  for index, program in stream:
    names = set(features(program))
    if args.only and not any(re.search(args.only, name) for name in names):
      continue
    coverage.update(names)
    verdict = check(program, is_compiled(index))
    if isinstance(verdict, Finding):
      some = failures.setdefault(verdict.kind, [])
      some.append(Failure(index, program, verdict.details))
      verdict = "finding"
    verdicts[verdict] += 1
    if time.monotonic() - said > 60:
      said = time.monotonic()
      print(f"{said - begin:.0f} s: {dict(verdicts)}", flush=True)
    if index % BLOCK == BLOCK - 1:
      jax.clear_caches()  # of what will never be run again
  if args.program is None:
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
