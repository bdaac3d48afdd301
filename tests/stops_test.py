"""What asks a process to stop, once and again: it ends well, or at once and quietly."""

import os
import pty
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from commands import run

ROOT = Path(__file__).parents[1]
# Sends itself signals, and says what was collected of them.
PROGRAM = """
import signal, sys
from unroll import stops
with stops.collected() as asked:
  for name in sys.argv[1:]:
    signal.raise_signal(signal.Signals[name])
print([signal.Signals(number).name for number in asked])
"""
NOHUP = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"


def python(code: str, *argv: str) -> "subprocess.CompletedProcess[str]":
  return subprocess.run(
    [sys.executable, "-c", code, *argv],
    env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}"},
    capture_output=True,
    text=True,
    timeout=60,
  )


@pytest.mark.parametrize("first", ["", NOHUP])
def test_each_signal_asks_once(first: str) -> None:
  names = ["SIGINT", "SIGTERM", "SIGHUP", "SIGHUP", "SIGHUP"]
  done = python(f"{first}\n{PROGRAM}", *names)
  assert done.returncode == 0 and done.stderr == ""
  assert done.stdout == f"{names[: 2 if first else 3]}\n"


def test_a_second_one_does_what_it_did_before() -> None:
  assert python(PROGRAM, "SIGTERM", "SIGTERM").returncode == -signal.SIGTERM
  done = python(PROGRAM, "SIGINT", "SIGHUP", "SIGINT")
  assert "KeyboardInterrupt" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("deaf", [False, True])
def test_before_and_after(deaf: bool) -> None:
  done = python(
    f"""
import signal
from unroll import stops
with stops.collected(deaf_after={deaf}):
  pass
print([signal.getsignal(s).name for s in (signal.SIGTERM, signal.SIGHUP)])
signal.raise_signal(signal.SIGINT)
"""
  )
  assert done.stdout == "['SIG_DFL', 'SIG_DFL']\n"
  assert (done.returncode == 0) == deaf


def test_nothing_is_written_to_a_terminal_that_is_gone(tmp_path: Path) -> None:
  """A process alone on a terminal, which closes."""
  code = """
import os, signal, sys
from pathlib import Path
from unroll import stops
with stops.collected(lambda: print("asked", flush=True)) as asked:
  os.write(1, b"here")
  while not asked:
    signal.pause()
  print("going on", flush=True)
  print("going on", file=sys.stderr)
Path(sys.argv[1]).write_text("saved")
"""
  ours, theirs = pty.openpty()
  own_session = "import os, sys; os.close(os.open(os.ttyname(1), os.O_RDWR)); "
  child = subprocess.Popen(
    [
      *(sys.executable, "-c", f"{own_session}exec(sys.argv.pop(1))"),
      *(code, str(tmp_path / "file")),
    ],
    env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}"},
    stdin=theirs,
    stdout=theirs,
    stderr=theirs,
    start_new_session=True,  # so that the terminal it opens becomes its own
  )
  os.close(theirs)
  assert os.read(ours, 4) == b"here"
  os.close(ours)
  assert child.wait(60) == 0 and (tmp_path / "file").read_text() == "saved"


# A real experiment.

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "Spain"]
TINY = [
  *("--corpus=book.txt", "--hidden=8", "--layers=1", "--embedding=4", "--batch=4"),
  *("--truncation=tbptt:8", "--steps=23", "--dispatch=4", "--workdir=run", "--json"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
  draw = random.Random(0)
  text = "".join(draw.choice(WORDS) + draw.choice("  ,.\n") for _ in range(1200))
  (tmp_path / "book.txt").write_text(text, "utf-8")
  return tmp_path


def interrupt(number: int) -> None:
  """Sends this process a signal once the record of its fifth step is written."""
  from unroll.runlog import RunLog

  write = RunLog.write

  def write_then_interrupt(self, record):
    write(self, record)
    if record["step"] == 5 and "train/loss" in record:
      signal.raise_signal(number)

  RunLog.write = write_then_interrupt  # type: ignore[method-assign]


class Dying:
  """What happens in a destructor is told, and has no other consequence."""

  def __del__(self) -> None:
    signal.raise_signal(signal.SIGINT)


def interrupt_twice(where: str) -> None:
  """Ctrl-C at the fifth step, and another one on the way out."""
  from experiments.session import conclusion

  interrupt(signal.SIGINT)
  page = conclusion.page

  def paged(*arguments, **options):
    if where == "destructor":
      Dying()
    signal.raise_signal(signal.SIGINT)
    page(*arguments, **options)

  conclusion.page = paged


def test_the_end_of_the_terminal_saves(folder: Path) -> None:
  done = run(folder, "charlm", *TINY, first=partial(interrupt, signal.SIGHUP))
  assert done.code == 0 and "interrupted; the same command with" in done.err, done.err
  saved = [int(path.name) for path in (folder / "run" / "checkpoints").iterdir()]
  assert not done.json["finished"] and done.json["steps"] in saved


@pytest.mark.parametrize("where", ["page", "destructor"])
def test_ctrl_c_on_the_way_out_is_quiet(folder: Path, where: str) -> None:
  done = run(folder, "charlm", *TINY, first=partial(interrupt_twice, where))
  assert done.code == 128 + signal.SIGINT and "Traceback" not in done.err, done.err
  assert done.err.splitlines()[-1].startswith("error: interrupted; the same command")
