"""Strict arithmetic for every test: no silent rank broadcasting, no silent casts.

The processes that tests start see signals as from a terminal, also where pytest itself
was started to ignore some, as by nohup or in the background of a script.
"""

import signal

import jax
import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Cells that differ from "rnn" in their activation and start alone, not in their path
# through the scan: what is theirs is in cells_test, the laws of the scan are slow.
ACTIVATIONS = ("linear_rnn", "relu_rnn")
ELSEWHERE = ("scan", "every", "lookup", "remat", "layers", "flax", "models")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
  for item in items:
    row = item.callspec.id.split("-") if hasattr(item, "callspec") else ()
    if item.path.name.startswith(ELSEWHERE) and not set(row).isdisjoint(ACTIVATIONS):
      item.add_marker(pytest.mark.slow)
