"""Recurrent networks in JAX: pure-function cells, one scan, full and truncated BPTT."""

from typing import Any


def __getattr__(name: str) -> Any:
  """`load`, which imports checkpoints and models only when it is asked for."""
  if name != "load":
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  from unroll.loading import load

  return load
