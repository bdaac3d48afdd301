"""Public files on this machine: downloaded once, used when the checksum is right."""

import functools
import hashlib
import http.client
import importlib.resources
import os
import pathlib
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple

from unroll import files
from unroll.errors import BadInput

TIMEOUT = 60.0  # seconds without a byte


class File(NamedTuple):
  """A public file, pinned.

  Attributes:
    path: where it lies in the cache, `<corpus>/<file>`.
    url: where it is downloaded from.
    sha256: its checksum, hexadecimal.
    size: its size in bytes.
  """

  path: str
  url: str
  sha256: str
  size: int


def public(path: str) -> File:
  """The file that `public.tsv` has for a path in the cache."""
  return _table()[path]


@functools.cache
def _table() -> Mapping[str, File]:
  table = importlib.resources.files("unroll.data").joinpath("public.tsv")
  _, *rows = table.read_text("utf-8").splitlines()
  cells = [row.split("\t") for row in rows]
  return {path: File(path, url, sha256, int(size)) for path, size, sha256, url in cells}


def root() -> pathlib.Path:
  """The cache: `$UNROLL_DATA`, or `~/.cache/unroll`."""
  path = os.environ.get("UNROLL_DATA") or "~/.cache/unroll"
  return pathlib.Path(os.path.expanduser(path))


def read(file: File) -> bytes:
  """The bytes of a pinned file, from the cache or else from its URL.

  Raises:
    BadInput: the file in the cache is another one, or there is none and it cannot be
      downloaded.
  """
  path = root() / file.path
  if not path.resolve().is_relative_to(root().resolve()):
    raise BadInput(f"{path} leads out of the cache {root()}; put the file itself there")
  if not path.exists():
    _download(file, path)
  try:
    data = path.read_bytes()
  except OSError as error:
    raise BadInput(
      f"{path} cannot be read ({error.strerror}); make it a readable copy of {file.url}"
    ) from error
  if (wrong := _mismatch(file, data)) is not None:
    raise BadInput(f"{path} {wrong}; delete it, and the next run downloads {file.url}")
  return data


def _download(file: File, path: pathlib.Path) -> None:
  try:
    with urllib.request.urlopen(file.url, timeout=TIMEOUT) as response:
      data = response.read(file.size + 1)
  except (OSError, http.client.HTTPException) as error:
    if isinstance(error, urllib.error.HTTPError):
      error.close()  # it is the response too
    raise BadInput(
      f"{path} is not there and {file.url} cannot be downloaded ({error}); put the "
      "file there by hand, or point UNROLL_DATA at a folder that has it"
    ) from error
  if (wrong := _mismatch(file, data)) is not None:
    raise BadInput(f"{file.url} {wrong}; put the right file at {path} by hand")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, data)  # whole: runs that start together never see half a file
  except OSError as error:
    raise BadInput(
      f"{path} cannot be written ({error.strerror}); point UNROLL_DATA at a folder "
      "that can"
    ) from error


def _mismatch(file: File, data: bytes) -> str | None:
  found = hashlib.sha256(data).hexdigest()
  if found == file.sha256:
    return None
  size = f"{len(data)} bytes" if len(data) <= file.size else "more bytes"
  return (
    f"has {size} with sha256 {found} where {file.size} bytes with sha256 {file.sha256} "
    "are expected"
  )
