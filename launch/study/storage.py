"""Where the trials of a sweep are kept, and what is said when that cannot be used."""

import contextlib
import errno
import functools
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from launch.main import say
from launch.plan import without_password
from unroll.errors import BadInput

PATIENCE = 600.0  # seconds for which another program may lock an SQLite file
PAUSE = 1.0  # between two attempts, of which a signal can come
Result = TypeVar("Result")
Kind = TypeVar("Kind", bound=type)


def opened(where: str) -> BaseStorage:
  """A storage.

  Args:
    where: a URL, or the path of a journal file.

  Raises:
    Exception: of Optuna, SQLAlchemy, a driver or the system, if it cannot be opened.
  """
  if "://" not in where:
    # The lock is a link to the journal, whose age is read through it: from anywhere.
    path = os.path.abspath(where)
    return optuna.storages.JournalStorage(JournalFileBackend(path, _Lock(path)))
  options: dict[str, Any] = {}
  if where.startswith("sqlite"):
    options = {"connect_args": {"factory": _Connection, "timeout": PAUSE}}
  return get_storage(RDBStorage(where, engine_kwargs=options))


class _Lock(JournalFileSymlinkLock):
  """The lock of a journal, whose holder may have died while it wrote."""

  grace = 30  # seconds without a write, until its holder counts as dead

  def __init__(self, path: str):
    super().__init__(path, self.grace)
    self._path = path

  def acquire(self) -> bool:
    """Waits for the lock, and takes away the torn line that another left.

    What is appended to that would make one line with it, which nobody can read.
    """
    acquired = super().acquire()
    try:
      with open(self._path, "r+b") as file:
        if end := file.seek(0, os.SEEK_END):
          file.seek(end - 1)
          if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
    except OSError:
      self.release()
      raise
    return acquired


class _Connection(sqlite3.Connection):
  """A connection that waits for a file that is locked, and says so."""

  def __init__(self, database: str, *args: Any, **options: Any):
    super().__init__(database, *args, **options)
    self.database = database

  def __del__(self) -> None:
    # Optuna leaves its connections to the collector, of which Python 3.13 warns.
    with contextlib.suppress(sqlite3.Error):
      self.close()

  def cursor(self, factory: Any = None) -> Any:
    """A cursor that does so."""
    return super().cursor(factory or _Cursor)

  def commit(self) -> None:
    """Ends a transaction."""
    _patiently(self, super().commit)


class _Cursor(sqlite3.Cursor):
  def execute(self, *args: Any) -> Any:
    return _patiently(self.connection, functools.partial(super().execute, *args))


def _patiently(connection: Any, call: Callable[[], Result]) -> Result:
  """What a call gives once nobody locks the file, which leaves all as it was."""
  began, told = time.monotonic(), False
  while True:
    try:
      return call()
    except sqlite3.OperationalError as error:
      if not _locked(error) or time.monotonic() - began > PATIENCE:
        raise
      if not told:
        say(f"{connection.database} is locked by another program: waiting for it")
      told = True
      time.sleep(PAUSE / 10)  # SQLite itself need not have waited


def _locked(error: BaseException) -> bool:
  return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unwritten(error: BaseException) -> bool:
  """Whether a disk has not taken something; of a journal there, or of SQLite's own."""
  full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
  if isinstance(error, OSError):
    return error.errno in full
  reading = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
  if getattr(error, "sqlite_errorcode", 0) in reading:
    return False
  return _code(error) in (
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
    sqlite3.SQLITE_READONLY,
  )


def _code(error: BaseException) -> int:
  return getattr(error, "sqlite_errorcode", 0) & 0xFF


def telling(kind: Kind) -> Kind:
  """Has the public methods of a class say in a sentence what its storage suffers from.

  A flipped bit may come up as any exception, wherever the trials are read.

  Args:
    kind: its objects say where the storage is, in `where`.
  """

  def told(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
      try:
        return method(self, *args, **options)
      except BadInput:
        raise
      except Exception as error:
        raise BadInput(trouble(self.where, error)) from error

    return call

  for name, method in list(vars(kind).items()):
    if callable(method) and not name.startswith("_"):
      setattr(kind, name, told(method))
  return kind


def trouble(where: str, error: BaseException) -> str:
  """What is wrong with a storage, and what to do."""
  where = without_password(where)
  while error.__cause__ is not None:
    error = error.__cause__
  if _locked(error):
    return (
      f"--storage={where} has been locked by another program for {PATIENCE:.0f} "
      "seconds: end that, and the same command goes on"
    )
  said = str(error).strip().partition("\n")[0]
  if _unwritten(error):
    return (
      f"--storage={where} could not be written ({said}): make room or the folder "
      "writable, and the same command goes on"
    )
  return (
    f"--storage={where} cannot be used any more ({type(error).__name__}: {said}): make "
    "it reachable or restore it; or move it away, and the same command goes on from "
    "the runs that there are"
  )
