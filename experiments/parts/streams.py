"""Streams of short episodes, of which each step is learned from as it comes.

They are those of the report on sketched RTRL (sonaradarcn/sketched-rtrl), whose
cosines between gradients `experiments.cosines` measures again.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SYMBOLS, COPIED, DELAY = 8, 5, 40  # of copy
ADDED = 100  # steps of adding
WIDTH, TURNS = 8, 64  # of rotation: numbers, and steps
LONGEST = 16  # n of aⁿbⁿ, at most


class Stream(NamedTuple):
  """Steps of B sequences of episodes.

  Attributes:
    x: `[T, B, D]`.
    y: the targets `[T, B, C]`: numbers, or a 1 among zeros for a class.
    counts: `[T, B]`, whether a step has targets: all sequences or none.
    reset: `[T, B]`, whether an episode starts.
    classes: whether targets are classes.
  """

  x: NDArray[np.float32]
  y: NDArray[np.float32]
  counts: NDArray[np.bool_]
  reset: NDArray[np.bool_]
  classes: bool


def _copy(random: np.random.Generator, steps: int, batch: int) -> Stream:
  """Five symbols, forty blanks, and five cues at which they are to be named."""
  length = 2 * COPIED + DELAY
  shown = random.integers(SYMBOLS, size=(-(-steps // length), batch, COPIED))
  x = np.zeros((len(shown), length, batch, SYMBOLS + 2), np.float32)
  y = np.zeros((len(shown), length, batch, SYMBOLS), np.float32)
  named = np.moveaxis(np.eye(SYMBOLS, dtype=np.float32)[shown], 2, 1)
  x[:, :COPIED, :, :SYMBOLS] = named
  x[:, COPIED:-COPIED, :, SYMBOLS] = 1
  x[:, -COPIED:, :, SYMBOLS + 1] = 1
  y[:, -COPIED:] = named
  return _of_episodes(x, y, np.arange(length) >= COPIED + DELAY, True, steps)


def _adding(random: np.random.Generator, steps: int, batch: int) -> Stream:
  """Numbers of which one in each half is marked; their sum at the end."""
  episodes = -(-steps // ADDED)
  x = np.zeros((episodes, ADDED, batch, 2), np.float32)
  x[..., 0] = random.random((episodes, ADDED, batch))
  first = random.integers(ADDED // 2, size=(2, episodes, batch))
  rows, columns = np.ogrid[:episodes, :batch]
  for half in range(2):
    x[rows, first[half] + half * (ADDED // 2), columns, 1] = 1
  y = np.zeros((episodes, ADDED, batch, 1), np.float32)
  y[:, -1, :, 0] = np.sum(x[..., 0] * x[..., 1], axis=1)
  return _of_episodes(x, y, np.arange(ADDED) == ADDED - 1, False, steps)


def _rotation(random: np.random.Generator, steps: int, batch: int) -> Stream:
  """A direction, shown once, that is to be turned once more at every step."""
  episodes = -(-steps // TURNS)
  turn, _ = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))
  turn[:, 0] *= np.sign(np.linalg.det(turn))
  at = random.normal(size=(episodes, batch, WIDTH))
  at /= np.linalg.norm(at, axis=-1, keepdims=True)
  x = np.zeros((episodes, TURNS, batch, WIDTH + 1), np.float32)
  x[:, 0, :, :WIDTH], x[:, 0, :, WIDTH] = at, 1
  y = np.zeros((episodes, TURNS, batch, WIDTH), np.float32)
  for step in range(TURNS):
    at = at @ turn.T
    y[:, step] = at
  return _of_episodes(x, y, np.ones(TURNS, bool), False, steps)


def _anbn(random: np.random.Generator, steps: int, batch: int) -> Stream:
  """aⁿbⁿ and an end, of n up to 16: the next symbol at every step."""
  symbols, reset = np.zeros((2, steps + 1, batch), np.int64)
  for lane in range(batch):
    at = 0
    while at <= steps:
      n = int(random.integers(1, LONGEST + 1))
      word = np.array([0] * n + [1] * n + [2])[: steps + 1 - at]
      symbols[at : at + len(word), lane] = word
      reset[at, lane] = 1
      at += len(word)
  now, after = symbols[:-1], np.where(reset[1:] == 1, 2, symbols[1:])
  named = np.eye(3, dtype=np.float32)
  every = np.ones((steps, batch), bool)
  return Stream(named[now], named[after], every, reset[:-1] == 1, True)


def _of_episodes(x, y, counts, classes: bool, steps: int) -> Stream:
  """A stream of episodes `[N, length, B, …]` that all sequences start together."""
  episodes, length, batch, _ = x.shape
  x, y = (part.reshape(-1, *part.shape[2:])[:steps] for part in (x, y))
  starts = np.arange(length) == 0
  counts, reset = (
    np.repeat(np.tile(mask, episodes)[:steps, None], batch, axis=1)
    for mask in (counts, starts)
  )
  return Stream(x, y, counts, reset, classes)


STREAMS: dict[str, Callable[[np.random.Generator, int, int], Stream]] = {
  "copy": _copy,
  "adding": _adding,
  "rotation": _rotation,
  "anbn": _anbn,
}
