"""Files that appear whole, and places that are one's own; it needs no JAX.

A reader of what is written here sees the old file or the new one.
"""

import contextlib
import errno
import os
import stat
import uuid
from pathlib import Path

from unroll.errors import BadInput

PARTIAL = ".*.partial"  # what a process that is killed while it writes leaves behind
# Of a file system that syncs no folders; of a folder that may not be read.
_CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)


def write(path: Path, content: str | bytes) -> None:
  """Writes a file by one rename; many processes may write the same at once.

  Once it returns, the file survives a power cut; one in between leaves the old file.

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
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)
  except OSError as error:
    raise OSError(error.errno, error.strerror, str(path)) from None
  finally:
    with contextlib.suppress(OSError):  # of a folder that has become read-only
      partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
  """Has what a file holds, or the names in a folder, survive a power cut.

  Raises:
    OSError: that names `path`, if the disk does not take it.
  """
  try:
    descriptor = os.open(path, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)
  except OSError as error:
    if error.errno not in _CANNOT:
      raise OSError(error.errno, error.strerror, str(path)) from None


def sync_all(folder: Path) -> None:
  """Has a folder and all below it survive a power cut.

  Raises:
    OSError: if the disk does not take it.
  """
  for place, _, names in os.walk(folder, topdown=False):
    for name in names:
      sync(Path(place, name))
    sync(Path(place))


def expanded(path: str) -> str:
  """A path as a shell would have it: a leading `~` or `~name` is a home.

  Raises:
    BadInput: if there is no such home.
  """
  found = os.path.expanduser(path)
  if found.startswith("~"):
    raise BadInput(
      f"there is no home {path.partition('/')[0]}: write ./{path} for a name that "
      "starts with ~"
    )
  return found


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
