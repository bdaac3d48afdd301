"""Files that appear whole: a reader sees the old one or the new; it needs no JAX."""

import os
import uuid
from pathlib import Path

from unroll.errors import BadInput

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
