"""A disk that is full, or fails, at any write of a command: what becomes of its files.

  python -m tests.faults --every=1

A command is run again and again: its first write below its folder fails, then the
second, to the last; once that write alone, once with all that come after it. What a
write is, also of a library in C++, is told in faults.c. Each time the command ends in
one sentence that names a file and says what to do, or goes on without what only shows
a run; then it is run undisturbed, and ends as if nothing had happened. Whatever else
happens is shown, and the exit code is 1. Needs a C compiler and Linux.
"""

import argparse
import ctypes
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests import commands, same

SOURCE = Path(__file__).with_name("faults.c")
LOADED = "LD_PRELOAD"
EVER = 2**31
# What to do, where a disk is full and where it does not answer.
REMEDIES = ("make room", "look after the disk", "give another folder")
TINY = (
  *("--corpus=book.txt", "--hidden=8", "--embedding=4", "--layers=1", "--batch=2"),
  *("--truncation=tbptt:8", "--eval_every=3", "--checkpoint_every=3", "--dispatch=3"),
  *("--length=10", "--workdir=run"),
)


class Command(NamedTuple):
  """What writes.

  Attributes:
    name: of the case.
    module: as `commands.run` takes it.
    flags: of the command.
    before: commands that make what it starts from: module and flags.
    same: asserts that a folder in which it was disturbed, then not, is as good as one
      in which it never was.
  """

  name: str
  module: str
  flags: tuple[str, ...]
  before: tuple[tuple[str, ...], ...]
  same: Callable[[Path, Path], None]


def _same_run(one: Path, other: Path) -> None:
  same.same_run(one / "run", other / "run")
  names = {"config.json", "vocab.json", "sample.txt", "curves.png", "report.html"}
  assert names <= {path.name for path in (one / "run").iterdir()}


def _same_file(name: str, one: Path, other: Path) -> None:
  assert (one / name).read_bytes() == (other / name).read_bytes(), name
  same.same_run(one / "run", other / "run")


def _same_page(one: Path, other: Path) -> None:
  assert (one / "run/report.html").stat().st_size > 1000
  same.same_run(one / "run", other / "run")


def _same_weights(one: Path, other: Path) -> None:
  a, b = (same.leaves(folder / "new") for folder in (one, other))
  assert a.keys() == b.keys()
  assert all(a[name].tobytes() == b[name].tobytes() for name in a)


def _same_sweep(one: Path, other: Path) -> None:
  a, b = (json.loads((folder / "s/trials.json").read_text()) for folder in (one, other))
  for trial in (*a["trials"], *b["trials"]):
    for changing in ("seconds", "ended", "attempts"):
      del trial[changing]
  assert a == b
  assert (one / "s/chosen.json").read_text() == (other / "s/chosen.json").read_text()
  assert (one / "s/report.html").stat().st_size > 1000


TRAINED = (("charlm", *TINY, "--steps=3"),)
NPZ = ("convert", "--workdir=run", "--to=numpy:a.npz")
COMMANDS = [
  Command("train", "charlm", (*TINY, "--steps=6"), (), _same_run),
  Command("resume", "charlm", (*TINY, "--steps=6"), TRAINED, _same_run),
  Command("report", "report", ("--workdir=run",), TRAINED, _same_page),
  *(
    Command(
      f"convert to {file}",
      "convert",
      ("--workdir=run", f"--to=numpy:{file}"),
      TRAINED,
      functools.partial(_same_file, file),
    )
    for file in ("a.npz", "a.safetensors")
  ),
  Command(
    "convert to a run",
    "convert",
    ("--from=numpy:a.npz", "--vocabulary=run/vocab.json", "--to=new"),
    (*TRAINED, NPZ),
    _same_weights,
  ),
  Command(
    "play --export",
    "play",
    ("--workdir=run", "--export=a.html"),
    TRAINED,
    functools.partial(_same_file, "a.html"),
  ),
  Command(
    "export",
    "export",
    ("--workdir=run", "--to=a.jax"),
    TRAINED,
    functools.partial(_same_file, "a.jax"),
  ),
  Command("sweep", "tests.toy_sweep", ("s",), (), _same_sweep),
]


class Injected(NamedTuple):
  """What became of one fault.

  Attributes:
    at: the number of the write.
    write: what failed: the call and the file.
    code: the exit code; None: there was no such write.
    said: the last line on standard error.
    wrong: what should not have been; empty if all is well.
  """

  at: int
  write: str
  code: int | None
  said: str
  wrong: str


def begin(folder: Path, first: int, last: int, log: Path) -> None:
  """Has writes below a folder fail in this process, from the first to the last."""
  library = ctypes.CDLL(None)
  arguments = (str(folder).encode(), first, last, str(log).encode())
  library.faults_begin.argtypes = (
    *(ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_char_p),
  )
  library.faults_begin(*arguments)


def prepared(command: Command, folder: Path) -> None:
  """Makes what a command starts from."""
  folder.mkdir()
  (folder / "book.txt").write_text("the quick brown fox jumps over a lazy dog. " * 30)
  for module, *flags in command.before:
    done = commands.run(folder, module, *flags)
    assert done.code == 0, done.err


def inject(
  command: Command, place: Path, start: Path, whole: Path, first: int, last: int
) -> Injected:
  """Disturbs a command, then runs it undisturbed.

  Args:
    command: what is disturbed.
    place: a folder for it, that is not there.
    start: what it starts from.
    whole: what it makes of that undisturbed.
    first: the write that fails.
    last: the last that does.
  """
  shutil.copytree(start, place)
  log = place.with_suffix(".log")
  disturb = functools.partial(begin, place, first, last, log)
  done = commands.run(place, command.module, *command.flags, first=disturb)
  lines = log.read_text("utf-8", "replace").splitlines()
  failed = [line.partition(" ")[2] for line in lines if line.startswith("failed")]
  said = (done.err.strip().splitlines() or [""])[-1]
  if not failed:
    shutil.rmtree(place)
    return Injected(first, "", None, said, "" if done.code == 0 else done.err)
  wrong = _wrong(done, said, [line.partition(" ")[2] for line in failed])
  if not wrong:
    again = commands.run(place, command.module, *command.flags)
    if again.code or "damaged" in again.err:
      wrong = f"and then undisturbed: {again.err}"
    else:
      try:
        command.same(place, whole)
      except (AssertionError, OSError, ValueError) as error:
        wrong = f"then it is another: {error!r}"[:2000]
  shutil.rmtree(place)
  return Injected(first, failed[0], done.code, said, wrong)


def _wrong(done: commands.Done, said: str, failed: list[str]) -> str:
  """What is wrong with how a command ended, if anything."""
  if "Traceback" in done.err or done.code not in (0, 2):
    return f"exit code {done.code}: {done.err}"
  if done.code == 0:
    return ""
  if not said.startswith("error: ") or not any(one in said for one in REMEDIES):
    return f"it does not say what to do: {done.err}"
  names = {name for path in failed for name in map(_named, Path(path).parts)}
  if not any(name in said for name in names):
    return f"it names none of {sorted(names)}: {said}"
  return ""


def _named(part: str) -> str:
  """A file's name, of one that is being written under another."""
  found = re.fullmatch(r"\.(.*)\.[0-9a-f]{32}\.partial", part)
  return found[1] if found else part


def all_of(command: Command, every: int, start: int) -> Iterator[tuple[str, Injected]]:
  """Faults at each `every`-th write of a command from `start` on, in both ways."""
  with tempfile.TemporaryDirectory(prefix="unroll-faults-") as found:
    place = Path(found).resolve()
    prepared(command, place / "start")
    shutil.copytree(place / "start", place / "whole")
    done = commands.run(place / "whole", command.module, *command.flags)
    assert done.code == 0, done.err
    for way in ("once", "from then on"):
      at = start
      while True:
        last = at if way == "once" else EVER
        one = inject(
          command, place / "disturbed", place / "start", place / "whole", at, last
        )
        if one.code is None and not one.wrong:
          break
        yield way, one
        at += every


def loaded() -> bool:
  """Whether this process has what faults.c makes."""
  return "faults" in os.environ.get(LOADED, "")


def library(folder: Path) -> Path:
  """Compiles faults.c.

  Raises:
    FileNotFoundError: there is no C compiler.
    subprocess.CalledProcessError: it does not compile here.
  """
  made = folder / "faults.so"
  command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
  subprocess.run(command, check=True)
  return made


def main() -> int:
  """Disturbs the commands; prints what became of them."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
  parser.add_argument("--every", type=int, default=1, help="so many writes apart")
  parser.add_argument("--start", type=int, default=1, help="the first write")
  names = [command.name for command in COMMANDS]
  parser.add_argument("--only", choices=names, help="one command")
  parser.add_argument("--verbose", action="store_true", help="a line a fault")
  given = parser.parse_args()
  if not loaded():  # the interpreter starts again, with it
    with tempfile.TemporaryDirectory() as folder:
      environment = {**os.environ, LOADED: str(library(Path(folder)))}
      again = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
      return subprocess.run(again, env=environment).returncode
  total, wrong = 0, 0
  for command in COMMANDS:
    if given.only not in (None, command.name):
      continue
    ends: Counter[str] = Counter()
    for way, one in all_of(command, given.every, given.start):
      ends["ended in a sentence" if one.code else "went on"] += 1
      wrong += bool(one.wrong)
      if given.verbose or one.wrong:
        print(
          f"{command.name}, write {one.at} {way}: {one.write}: {one.code} {one.said}",
          flush=True,
        )
      if one.wrong:
        print(f"  WRONG: {one.wrong}", flush=True)
    told = ", ".join(f"{count} {end}" for end, count in ends.items())
    print(f"{command.name}: {ends.total()} faults: {told}", flush=True)
    total += ends.total()
  print(f"{total} faults, {wrong} of them not mastered")
  return bool(wrong)


if __name__ == "__main__":
  sys.exit(main())
