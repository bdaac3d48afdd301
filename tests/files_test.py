"""Whole files: old or new, never half, and nothing left beside them."""

import errno
import os
import re

import pytest

from unroll import files


@pytest.mark.parametrize("content", ["é\n", b"\x00\xff", ""])
def test_a_file_is_what_was_written_and_nothing_stands_beside_it(tmp_path, content):
  path = tmp_path / "a.json"
  for _ in range(2):  # new, and over an old one
    files.write(path, content)
    expected = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == expected
  assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("at", ["write", "sync", "rename"])
def test_a_failed_write_names_the_file_and_leaves_the_old_one(
  tmp_path, monkeypatch, at
):
  path = tmp_path / "a.json"
  files.write(path, "old")

  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "another name")

  if at == "write":
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
  else:
    monkeypatch.setattr({"sync": "os.fsync", "rename": "os.replace"}[at], full)
  with pytest.raises(OSError, match=re.escape(str(path))) as caught:
    files.write(path, "new")
  assert caught.value.errno == errno.ENOSPC
  assert path.read_text() == "old"
  assert [*tmp_path.iterdir()] == [path]


def calls(monkeypatch):
  """Notes what is synced and renamed, and in which order."""
  made: list[str] = []
  sync, replace = os.fsync, os.replace

  def fsync(descriptor):
    made.append(f"sync {os.readlink(f'/proc/self/fd/{descriptor}')}")
    sync(descriptor)

  def rename(source, target):
    made.append(f"rename {source}")
    replace(source, target)

  monkeypatch.setattr("os.fsync", fsync)
  monkeypatch.setattr("os.replace", rename)
  return made


def test_a_file_and_its_name_survive_a_power_cut(tmp_path, monkeypatch):
  made = calls(monkeypatch)
  files.write(tmp_path / "a.json", "new")
  content, name, folder = made
  assert content.removeprefix("sync ") == name.removeprefix("rename ")
  assert folder == f"sync {tmp_path}"


def test_all_below_a_folder_is_synced_before_the_folder(tmp_path, monkeypatch):
  (tmp_path / "a" / "b").mkdir(parents=True)
  for name in ("x", "a/y", "a/b/z"):
    (tmp_path / name).touch()
  made = calls(monkeypatch)
  files.sync_all(tmp_path)
  order = [call.removeprefix(f"sync {tmp_path}") for call in made]
  assert order == ["/a/b/z", "/a/b", "/a/y", "/a", "/x", ""]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_file_system_that_cannot_sync_is_as_good_as_it_is(
  tmp_path, monkeypatch, number
):
  def cannot(descriptor):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr("os.fsync", cannot)
  files.write(tmp_path / "a.json", "new")
  assert (tmp_path / "a.json").read_text() == "new"


def test_a_folder_gone_read_only_is_what_is_said(tmp_path, monkeypatch):
  def read_only(*_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "another name")

  monkeypatch.setattr("pathlib.Path.write_bytes", read_only)
  monkeypatch.setattr("pathlib.Path.unlink", read_only)
  with pytest.raises(OSError, match=re.escape(str(tmp_path / "a.json"))):
    files.write(tmp_path / "a.json", "new")
