"""Files that appear whole: a reader sees the old one or the new; it needs no JAX."""

import os
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
