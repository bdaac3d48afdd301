"""Cores set aside for workers, by locks in a folder that all on a machine find."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import cores

pytestmark = pytest.mark.skipif(len(cores.cores()) < 2, reason="needs two cores")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
  """Where the locks of this user are, in a temporary directory of the test."""
  (tmp_path / "temp").mkdir()
  monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "temp"))
  return tmp_path / "temp" / f"unroll-cores-{os.getuid()}"


def test_workers_hold_cores_of_their_own(folder: Path) -> None:
  before = cores.cores()
  with cores.held(1) as one:
    os.sched_setaffinity(0, before)  # as another process would start
    with cores.held(1) as other:
      assert len(one) == len(other) == 1 and one != other
  assert cores.cores() == before
  assert folder.stat().st_mode & 0o777 == 0o700


def linked(folder: Path, elsewhere: Path) -> None:
  folder.symlink_to(elsewhere, target_is_directory=True)


def dangling(folder: Path, elsewhere: Path) -> None:
  folder.symlink_to(elsewhere / "new")


def open_to_all(folder: Path, elsewhere: Path) -> None:
  folder.mkdir()
  folder.chmod(0o777)


def a_file(folder: Path, elsewhere: Path) -> None:
  folder.touch()


@pytest.mark.parametrize("trap", [linked, dangling, open_to_all, a_file])
def test_a_folder_of_somebody_else_is_left_alone(
  folder: Path,
  tmp_path: Path,
  capsys: pytest.CaptureFixture[str],
  trap: Callable[[Path, Path], None],
) -> None:
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  for core in cores.cores():
    (elsewhere / str(core)).write_text("precious")
  trap(folder, elsewhere)
  before = cores.cores()
  with cores.held(1) as held:
    assert held == before
  assert {path.read_text() for path in elsewhere.iterdir()} == {"precious"}
  assert len(list(elsewhere.iterdir())) == len(before)
  if folder.is_dir():
    assert trap is linked or not list(folder.iterdir())
  said = capsys.readouterr().err
  assert said.count("\n") == 1 and f"{folder} is open to others" in said


def test_a_folder_of_another_user(
  folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  own = os.getuid()
  monkeypatch.setattr(os, "getuid", lambda: own + 1)
  (folder.parent / f"unroll-cores-{own + 1}").mkdir()
  before = cores.cores()
  with cores.held(1) as held:
    assert held == before
  assert "is open to others" in capsys.readouterr().err


def test_links_in_it_are_not_followed(folder: Path, tmp_path: Path) -> None:
  (tmp_path / "precious").write_text("precious")
  folder.mkdir(mode=0o700)
  for core in cores.cores():
    (folder / str(core)).symlink_to(tmp_path / "precious")
  before = cores.cores()
  with cores.held(1) as held:
    assert held == before
  assert (tmp_path / "precious").read_text() == "precious"
