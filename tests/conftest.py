"""Strict arithmetic for every test: no silent rank broadcasting, no silent casts.

The processes that tests start see signals as from a terminal, also where pytest itself
was started to ignore some, as by nohup or in the background of a script.
"""

import os
import signal

import jax
import pytest
from tables import HASTE

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
  parser.addoption("--haste", action="store_true", help="compiles fast, slow programs")


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


jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
