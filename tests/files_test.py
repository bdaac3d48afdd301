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


@pytest.mark.parametrize("at", ["write", "rename"])
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
    monkeypatch.setattr("os.replace", full)
  with pytest.raises(OSError, match=re.escape(str(path))) as caught:
    files.write(path, "new")
  assert caught.value.errno == errno.ENOSPC
  assert path.read_text() == "old"
  assert [*tmp_path.iterdir()] == [path]
