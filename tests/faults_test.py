"""A full or broken disk at any write: nothing is lost, and a sentence says it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
  pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD, of Linux"),
]


@pytest.mark.parametrize(
  ("name", "every"),
  [
    ("train", 31),
    ("resume", 47),
    ("report", 5),
    ("sweep", 83),
    ("convert to a.npz", 2),
  ],
)
def test_a_fault_at_some_writes_is_mastered(name, every):
  command = [sys.executable, "-m", "tests.faults", f"--only={name}", f"--every={every}"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  [count] = re.findall(r"^(\d+) faults, 0 of them", done.stdout, re.MULTILINE)
  assert int(count) > 3
