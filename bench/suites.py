"""What each suite measures, of whom, and what its table shows."""

from collections.abc import Callable
from typing import NamedTuple

from bench.shapes import GATES, Shape
from unroll.cells import CELLS

# B, T, D, H: short and long, narrow and wide, one sequence and many.
GRID = (
  (32, 35, 28, 256),
  (32, 64, 128, 512),
  (64, 256, 64, 128),
  (1, 1000, 32, 64),
  (16, 64, 1024, 1024),
)
GATED = ("lstm", "gru")
ARMS = tuple(Shape(32, 64, 64, 64, cell) for cell in GATED)
DEFAULT = Shape(32, 64, 64, 256, "lstm", layers=2)  # of `experiments.charlm`


class Limit(NamedTuple):
  """What the machine's limit is a limit of.

  Attributes:
    unit: of work a second.
    work: of a call, in thousand millions.
    of_run: whether the best of the whole run is the limit, or that of each row.
  """

  unit: str
  work: Callable[[Shape], float]
  of_run: bool


class Suite(NamedTuple):
  """One kind of measurement.

  Attributes:
    rows: what is measured unless --grid says otherwise.
    unit: of the figures shown.
    figure: makes one of seconds.
    limit: of the machine; None where none applies.
    peers: the libraries that can be raced.
    fresh: whether every measurement needs a process of its own.
    spread: whether our batch is spread over --devices.
    devices: that --devices=auto stands for; None: as many as are worth it.
    mixed: the libraries whose products may be bfloat16, ours among them; none if empty.
    cells: those that --cells may name.
  """

  rows: tuple[Shape, ...]
  unit: str
  figure: Callable[[Shape, float], float]
  limit: Limit | None = None
  peers: tuple[str, ...] = ()
  fresh: bool = False
  spread: bool = False
  devices: int | None = None
  mixed: tuple[str, ...] = ()
  cells: tuple[str, ...] = tuple(GATES)


SUITES = {
  "layer": Suite(
    rows=(
      *(Shape(*size, cell) for size in GRID for cell in ("lstm", "gru", "rnn")),
      *(Shape(32, 64, 128, 512, cell, layers=2) for cell in GATED),
      *(Shape(32, 64, 128, 256, cell, bidirectional=True) for cell in GATED),
    ),
    unit="ms",
    figure=lambda shape, seconds: 1e3 * seconds,
    limit=Limit("GF/s", lambda shape: 1e-9 * shape.flops(shape.weights), True),
    peers=("torch", "linen", "nnx", "haiku", "keras"),
    spread=True,
    mixed=("unroll", "torch", "linen"),
  ),
  "forward": Suite(
    rows=(
      *(Shape(*size, cell) for size in GRID for cell in ("lstm", "gru", "rnn")),
      *(Shape(32, 64, 128, 256, cell, bidirectional=True) for cell in GATED),
    ),
    unit="ms",
    figure=lambda shape, seconds: 1e3 * seconds,
    peers=("torch", "linen", "nnx", "haiku", "keras"),
    spread=True,
    mixed=("unroll", "torch", "linen"),
  ),
  "step": Suite(
    rows=(
      *(Shape(32, 35, 64, 256, cell) for cell in ("lstm", "gru", "rnn")),
      Shape(64, 64, 64, 512, "lstm", layers=2),
      Shape(64, 128, 64, 128, "lstm"),
      # The small model of Zaremba et al. (2014), on Penn Treebank.
      Shape(*(20, 20, 200, 200, "lstm", 2), vocabulary=10_000, optimizer="sgd"),
    ),
    unit="tokens/s",
    figure=lambda shape, seconds: shape.batch * shape.steps / seconds,
    limit=Limit("GF/s", lambda shape: 1e-9 * shape.flops(shape.model_weights), True),
    peers=("torch",),
    spread=True,
    mixed=("unroll", "torch"),
  ),
  "cells": Suite(
    rows=tuple(Shape(32, 64, 128, 256, cell) for cell in CELLS),
    unit="ms",
    figure=lambda shape, seconds: 1e3 * seconds,
    peers=("scan",),
    spread=True,
    devices=1,
    cells=tuple(CELLS),
  ),
  "recurrence": Suite(
    rows=(
      *(Shape(1, n, 1, 256, "min_gru") for n in (127, 1000, 4096, 65536)),
      *(Shape(32, n, 1, 256, "min_gru") for n in (127, 1000, 4096)),
    ),
    unit="ms",
    figure=lambda shape, seconds: 1e3 * seconds,
    # The input is read and its gradient written, the states are written and read.
    limit=Limit("GB/s", lambda shape: 16e-9 * shape.numbers, True),
    peers=("scan", "associative"),
    cells=("min_gru",),
  ),
  "reservoir": Suite(
    rows=tuple(Shape(32, 100, 10, n, "echo_state") for n in (500, 1000, 2000, 5000)),
    unit="ms",
    figure=lambda shape, seconds: 1e3 * seconds,
    peers=("reservoirpy", "reservoirpy_jax"),
    spread=True,
    cells=("echo_state",),
  ),
  "resets": Suite(
    rows=tuple(Shape(128, 128, 128, 256, cell) for cell in ("lstm", "gru", "min_gru")),
    unit="ms",
    figure=lambda shape, seconds: 1e3 * seconds,
    spread=True,
    cells=tuple(CELLS),
  ),
  "compile": Suite(
    rows=(DEFAULT, DEFAULT._replace(steps=4096)),
    unit="s",
    figure=lambda shape, seconds: seconds,
    fresh=True,
    spread=True,
  ),
  "start": Suite(
    rows=(DEFAULT,),
    unit="s",
    figure=lambda shape, seconds: seconds,
    peers=("torch",),
    fresh=True,
  ),
  "memory": Suite(
    rows=tuple(Shape(8, 10**n, 64, 256, "lstm") for n in (2, 3, 4, 5)),
    unit="s",
    figure=lambda shape, seconds: seconds,
  ),
  "loss": Suite(
    rows=tuple(
      Shape(32, 64, 64, 256, "lstm", vocabulary=n) for n in (65, 1000, 10_000, 33_000)
    ),
    unit="s",
    figure=lambda shape, seconds: seconds,
    spread=True,
    mixed=("unroll",),
  ),
  "arms": Suite(
    rows=ARMS,
    unit="ms",
    figure=lambda shape, seconds: 1e3 * seconds,
    spread=True,
  ),
  "runs": Suite(
    rows=ARMS,
    unit="s",
    figure=lambda shape, seconds: seconds,
  ),
  "classify": Suite(
    rows=(Shape(64, 19, 100, 128, "lstm", bidirectional=True),),
    unit="s",
    figure=lambda shape, seconds: seconds,
    peers=("torch", "keras"),
    spread=True,
  ),
  "translate": Suite(
    rows=(Shape(*(64, 25, 256, 256, "gru"), vocabulary=8000),),
    unit="ms",
    figure=lambda shape, seconds: 1e3 * seconds,
    peers=("torch",),
    spread=True,
    cells=("gru",),
  ),
  "beam": Suite(
    rows=(Shape(*(64, 25, 256, 256, "gru"), vocabulary=8000),),
    unit="sentences/s",
    figure=lambda shape, seconds: 1 / seconds,
    peers=("torch",),
    cells=("gru",),
  ),
  "generate": Suite(
    rows=(
      *(Shape(batch, 200, 64, 256, "lstm") for batch in (1, 64)),
      *(Shape(batch, 200, 64, 512, "lstm", layers=2) for batch in (1, 64)),
    ),
    unit="tokens/s",
    figure=lambda shape, seconds: shape.batch / seconds,
    limit=Limit("GB/s", lambda shape: 1e-9 * shape.model_bytes, False),
    peers=("torch",),
    mixed=("unroll", "torch"),
  ),
}
# peer -> the module that has to be there.
MODULES = {
  "scan": "jax",
  "reservoirpy": "reservoirpy",
  "reservoirpy_jax": "reservoirpy.jax",
  "associative": "jax",
  "torch": "torch",
  "linen": "flax.linen",
  "nnx": "flax.nnx",
  "haiku": "haiku",
  "keras": "keras",
}
