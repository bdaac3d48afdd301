"""Strict arithmetic for every test: no silent rank broadcasting, no silent casts.

The processes that tests start see signals as from a terminal, also where pytest itself
was started to ignore some, as by nohup or in the background of a script.
"""

import os
import signal
from zlib import crc32

import jax
import pytest
from haste import HASTE

PROGRAMS_KEPT_FOR = 500  # tests of one process
TESTS_DONE = pytest.StashKey[int]()

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
  parser.addoption("--haste", action="store_true", help="compiles fast, slow programs")
  parser.addoption(
    "--part", default="1/1", help="K/N: the K-th of N parts of the tests"
  )


def pytest_configure(config: pytest.Config) -> None:
  """With --haste, programs are compiled in half of the time, which is what costs.

  Processes that tests start compile as users do.
  """
  if not config.getoption("haste"):
    return
  given = os.environ.get("XLA_FLAGS", "")
  haste = [f"--{name}={str(value).lower()}" for name, value in HASTE.items()]
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XLA_FLAGS", " ".join([*haste, given]))
    jax.devices()  # reads them


def pytest_collection_modifyitems(
  config: pytest.Config, items: list[pytest.Item]
) -> None:
  """With --part=K/N, a test is in the part that its name falls into."""
  part, parts = map(int, config.getoption("part").split("/"))
  several: list[list[pytest.Item]] = [[] for _ in range(parts)]
  for item in items:
    several[crc32(item.nodeid.encode()) % parts].append(item)
  items[:] = several.pop(part - 1)
  config.hook.pytest_deselected(items=[item for others in several for item in others])


jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
  """Forgets the compiled programs from time to time.

  Each holds mappings of memory, of which Linux gives a process 65,530: a process that
  kept the programs of 1,300 tests died of it.
  """
  done = item.session.stash.get(TESTS_DONE, 0) + 1
  item.session.stash[TESTS_DONE] = done
  if done % PROGRAMS_KEPT_FOR == 0:
    jax.clear_caches()
