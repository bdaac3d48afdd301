"""Files that appear whole, and places that are one's own; it needs no JAX.

A reader of what is written here sees the old file or the new one.
"""

import os
import stat
import uuid
from pathlib import Path

PARTIAL = ".*.partial"  # what a process that is killed while it writes leaves behind


def write(path: Path, content: str | bytes) -> None:
  """Writes a file by one rename; many processes may write the same at once.

  Args:
    path: in a folder that exists.
    content: text becomes UTF-8.

  Raises:
    OSError: that names `path`, if it cannot be written; what was there stays.
  """
  data = content.encode() if isinstance(content, str) else content
  partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
  try:
    partial.write_bytes(data)
    os.replace(partial, path)
  except OSError as error:
    raise OSError(error.errno, error.strerror, str(path)) from None
  finally:
    partial.unlink(missing_ok=True)


def unlinked(path: str, flags: int) -> int:
  """An `opener` of `open` that follows no link, which another may have put there."""
  return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def private(folder: Path) -> bool:
  """Whether a folder, and no link to one, is this user's and no other can write there.

  Raises:
    OSError: if there is none.
  """
  status = os.lstat(folder)
  own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
  return own and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
