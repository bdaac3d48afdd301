"""A translator beside the same model in PyTorch, twice."""

from collections.abc import Sequence

from bench.race import Contestant
from bench.table import OURS

# How the same model is written in PyTorch.
WAYS = {"torch, as tutorials": True, "torch, hoisted": False}
SUITES = ("translate", "beam")


def contestants(devices: int, peers: Sequence[str], keeps: bool) -> list[Contestant]:
  """Ours, and PyTorch's in each way."""
  return [
    Contestant(OURS, OURS, devices=devices),
    *(
      Contestant(name, "torch_translating", {"tutorial": tutorial}, keeps=keeps)
      for name, tutorial in WAYS.items()
      for peer in peers
    ),
  ]
