"""--help, --version and a wrong flag: the same answers, without JAX."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.memory import Memory
from experiments.session import front
from unroll.data import cache
from unroll.settings import described

ROOT = Path(__file__).parents[1]


def answer(
  place: Path, *flags: str, jax: bool = True
) -> "subprocess.CompletedProcess[str]":
  """What a page says; without JAX where importing that fails."""
  (place / "none").mkdir(exist_ok=True)
  (place / "none" / "jax.py").write_text("raise ImportError('there is no JAX')")
  paths = [*([] if jax else [str(place / "none")]), "src", "."]
  environment = {"PYTHONPATH": os.pathsep.join(paths), "UNROLL_DATA": str(place)}
  return subprocess.run(
    [sys.executable, "-m", "experiments.memory", *flags],
    cwd=ROOT,
    env={**os.environ, **environment},
    text=True,
    capture_output=True,
    check=False,
  )


@pytest.mark.parametrize(
  "asked",
  [
    (["--help"], ["--hiden=3"]),
    pytest.param((["--helpxml"], ["--steps=x"], ["steps=3"]), marks=pytest.mark.slow),
  ],
)
def test_answers_without_jax_are_the_same(
  tmp_path: Path, asked: tuple[list[str], ...]
) -> None:
  told = answer(tmp_path, "--version", jax=False)
  assert told.stdout.startswith("unroll 0.") and told.returncode == 0
  assert answer(tmp_path, "--help", jax=False).returncode == 1  # not known yet
  before = [answer(tmp_path, *flags) for flags in asked]
  for flags, first in zip(asked, before):
    again = answer(tmp_path, *flags, jax=False)
    assert (again.returncode, again.stdout, again.stderr) == (
      first.returncode,
      first.stdout,
      first.stderr,
    )
    assert first.returncode == (0 if "help" in flags[0] else 2)


def test_what_is_kept_holds_while_no_source_has_changed(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setenv("UNROLL_DATA", str(tmp_path))
  name = "tests.some"
  monkeypatch.setattr(
    sys.modules["__main__"], "__spec__", type("Spec", (), {"name": name})
  )
  settings = [*described(Memory).values()]
  told = front.Told("help", "xml", [front.Heading("Memory", "memory", settings)])
  assert front.kept(name) is None
  front.keep(told)
  assert front.kept(name) == told
  path = cache.root() / front.FOLDER / front._name(name)
  whole = path.read_text()
  for damaged in ("", "{", "[]", whole[: len(whole) // 2], whole.replace("int", "xyz")):
    path.write_text(damaged)
    assert front.kept(name) is None
  path.write_text(whole)
  monkeypatch.setattr(front, "_stamp", lambda: "another")
  assert front.kept(name) is None
  monkeypatch.undo()
  monkeypatch.setenv("UNROLL_DATA", str(tmp_path))
  path.parent.chmod(0o777)  # others could have written it
  assert front.kept(name) is None
