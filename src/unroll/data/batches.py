"""Batches of a token sequence: pure functions of the step, time-major.

`Lanes` reads the sequence in order, so that the carry of one batch fits the next
(truncated BPTT, evaluation); `Windows` reads short windows in random order.
"""

import abc
import bisect
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.types import BadInput

ALL = slice(None)
AnyBatch = TypeVar("AnyBatch")  # a pytree of arrays [T, B, ...]


class Batch(NamedTuple):
  """What one training step sees.

  Attributes:
    inputs: token ids, int32 `[T, B]`.
    targets: the tokens that follow, int32 `[T, B]`.
    weight: float32 `[T, B]`, 0 at padding: a position that must not count, else 1.
    reset: bool `[T, B]`, the sequence starts afresh before this step.
    valid: bool `[T, B]`, the carry is held where False; None where it never is.
  """

  inputs: NDArray[np.int32]
  targets: NDArray[np.int32]
  weight: NDArray[np.float32]
  reset: NDArray[np.bool_]
  valid: NDArray[np.bool_] | None


class Source(abc.ABC, Generic[AnyBatch]):
  """Batches by step, from 0 without end; iterating goes through the first epoch.

  A batch is any pytree of NumPy arrays `[T, B, ...]`. T may differ from step to step; B
  as well where the carry keeps nothing of a sequence but its randomness, as when every
  batch starts afresh (`Buckets`). `source[step]` is the same batch whenever and
  wherever it is asked for, so the step is all that a checkpoint has to keep of the
  data.

  Attributes:
    rows: B of the carry: the sequences side by side in each batch, where all have as
      many.
    live: whether its batches come in while it is read, in order, once: see `live.py`.
  """

  rows: int
  live: bool = False

  @abc.abstractmethod
  def __len__(self) -> int:
    """The batches of an epoch."""

  @abc.abstractmethod
  def __getitem__(self, step: int) -> AnyBatch:
    """The batch of a step; its arrays may be read-only."""

  @abc.abstractmethod
  def epoch(self, step: int) -> int:
    """The pass over the data, from 0, that the step belongs to."""

  def __iter__(self) -> Iterator[AnyBatch]:
    return (self[step] for step in range(len(self)))

  def example(self) -> AnyBatch:
    """A batch of the shapes that all or most have."""
    return self[0]


class Lanes(Source[Batch]):
  """Sequential batches: the sequence cut into contiguous lanes, read side by side.

  In an epoch every token but the first is a target exactly once (weight 1). The lanes
  differ in length by at most one; what is too short is padded.

  Args:
    tokens: the sequence, `[N]`.
    batch: the number of lanes, B.
    length: new positions of a lane in each batch, K.
    overlap: positions that a batch repeats before the new ones, as context. Their
      weight stays 1 where they are real; those before the lane are not valid.
    lengths: epoch -> the number of new positions, 1 to K, of each batch in turn; they
      must add up to at least `ceil((N - 1) / B)`. A batch is padded to K; its padding
      is not valid. None: always K.
    columns: the lanes that batches have; the others are those of other processes.

  Raises:
    BadInput: there are more lanes than targets.
  """

  def __init__(
    self,
    tokens: ArrayLike,
    batch: int,
    length: int,
    *,
    overlap: int = 0,
    lengths: Callable[[int], NDArray[np.integer]] | None = None,
    columns: slice = ALL,
  ):
    self.tokens = _checked(tokens, batch, length)
    self.batch, self.length, self.columns = batch, length, columns
    self.overlap, self.lengths = overlap, lengths
    if overlap < 0:
      raise ValueError(f"overlap must be 0 or more, not {overlap}")
    targets = self.tokens.size - 1
    if targets < batch:
      raise BadInput(
        f"a batch of {batch} lanes needs a text of at least {batch + 1} tokens, and "
        f"this one has {self.tokens.size}: take fewer, or give more text"
      )
    edges = np.arange(batch + 1) * targets // batch
    sizes = np.diff(edges)
    self._size = int(sizes.max())
    self._starts, self._sizes = edges[:-1][columns], sizes[columns]
    self.rows = self._starts.size
    self._constant = np.append(np.arange(0, self._size, length), self._size)
    self._bounds: list[NDArray[np.integer]] = []  # by epoch, when lengths vary
    self._first = [0]  # the first step of each epoch, and of the next one
    self._lock = threading.Lock()  # the prefetching thread asks too

  def __len__(self) -> int:
    return self._chunks(0).size - 1

  def epoch(self, step: int) -> int:
    return self._locate(step)[0]

  def __getitem__(self, step: int) -> Batch:
    epoch, chunk = self._locate(step)
    start, stop = self._chunks(epoch)[chunk : chunk + 2].tolist()
    # Positions in a lane; made for each batch, as those of all need more memory than
    # the sequence.
    row = start - self.overlap + np.arange(self.overlap + self.length + 1)[:, None]
    window = self.tokens.take(self._starts + row, mode="clip")  # [overlap + K + 1, B]
    row = row[:-1]
    weight = ((row >= 0) & (row < self._sizes)).astype(np.float32)
    valid = None
    if self.overlap or self.lengths is not None:
      weight[self.overlap + stop - start :] = 0
      valid = weight > 0
    reset = np.broadcast_to(row == 0, weight.shape)
    return Batch(window[:-1], window[1:], weight, reset, valid)

  def __repr__(self) -> str:
    # A function has no stable name; what it says about the first epoch has.
    lengths = None if self.lengths is None else _digest(self._chunks(0))
    return (
      f"Lanes(tokens={_digest(self.tokens)}, batch={self.batch}, length={self.length}, "
      f"overlap={self.overlap}, lengths={lengths}, columns={self.columns})"
    )

  def _locate(self, step: int) -> tuple[int, int]:
    """Epoch, and chunk within it."""
    _check_step(step)
    if self.lengths is None:
      return divmod(step, len(self))
    while self._first[-1] <= step:
      self._chunks(len(self._first) - 1)
    epoch = bisect.bisect_right(self._first, step) - 1
    return epoch, step - self._first[epoch]

  def _chunks(self, epoch: int) -> NDArray[np.integer]:
    """Where the chunks of an epoch start in a lane, and where the last one ends."""
    if self.lengths is None:
      return self._constant
    with self._lock:
      while len(self._bounds) <= epoch:
        lengths = np.asarray(self.lengths(len(self._bounds)))
        bounds = np.minimum(np.append(0, np.cumsum(lengths)), self._size)
        bounds = bounds[: np.searchsorted(bounds, self._size) + 1]
        fit = bool(np.all((1 <= lengths) & (lengths <= self.length)))
        if not fit or bounds[-1] < self._size:
          raise ValueError(
            f"lengths must lie in [1, {self.length}] and add up to {self._size} or more"
          )
        self._bounds.append(bounds)
        self._first.append(self._first[-1] + bounds.size - 1)
    return self._bounds[epoch]


class Stacked(Source[AnyBatch]):
  """The batches of several sources side by side: arrays `[sources, T, B, ...]`.

  Args:
    sources: their batches have the same shapes; the first says what an epoch is.
  """

  def __init__(self, sources: Sequence[Source[AnyBatch]]):
    self.sources = tuple(sources)
    self.rows = self.sources[0].rows

  def __len__(self) -> int:
    return len(self.sources[0])

  def epoch(self, step: int) -> int:
    return self.sources[0].epoch(step)

  def __getitem__(self, step: int) -> AnyBatch:
    each = [source[step] for source in self.sources]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)

  def __repr__(self) -> str:
    return f"Stacked({', '.join(map(repr, self.sources))})"


class Windows(Source[Batch]):
  """Random batches: windows of K + 1 tokens, each row starting afresh.

  Shuffled, each epoch has its own order and its own offset, drawn so that every epoch
  has the same number of windows and every token has its turn. In order, the windows
  start at 0; with stride K the last one is padded and every token but the first is a
  target exactly once; with any other stride only whole windows count.

  Args:
    tokens: the sequence, `[N]`.
    batch: windows in a batch, B; the last batch of an epoch is padded.
    length: input positions of a window, K.
    stride: positions from one window to the next; 0 for K.
    seed: of the order and the offsets.
    shuffle: random order, or in order.
    columns: the windows that batches have; the others are those of other processes.

  Raises:
    BadInput: the text is shorter than a window.
  """

  def __init__(
    self,
    tokens: ArrayLike,
    batch: int,
    length: int,
    *,
    stride: int = 0,
    seed: int = 0,
    shuffle: bool = True,
    columns: slice = ALL,
  ):
    self.tokens = _checked(tokens, batch, length)
    if stride < 0:
      raise ValueError(f"stride must be 0 or more, not {stride}")
    self.batch, self.length, self.columns = batch, length, columns
    self.stride, self.seed, self.shuffle = stride or length, seed, shuffle
    self.rows = len(range(batch)[columns])
    spare = self.tokens.size - 1 - length
    if spare < 0:
      raise BadInput(
        f"a window of {length} steps needs a text of at least {length + 1} tokens, and "
        f"this one has {self.tokens.size}: take fewer, or give more text"
      )
    if shuffle:
      self._windows = max(0, spare - self.stride + 1) // self.stride + 1
    elif self.stride == length:
      self._windows = -(-(spare + length) // length)
    else:
      self._windows = spare // self.stride + 1
    self._slack = spare - (self._windows - 1) * self.stride
    self._starts = functools.lru_cache(maxsize=2)(self._draw_starts)

  def __len__(self) -> int:
    return -(-self._windows // self.batch)

  def epoch(self, step: int) -> int:
    _check_step(step)
    return step // len(self)

  def __getitem__(self, step: int) -> Batch:
    _check_step(step)
    epoch, chunk = divmod(step, len(self))
    row = chunk * self.batch + np.arange(self.batch)[self.columns]
    start = self._starts(epoch)[np.minimum(row, self._windows - 1)]
    t = np.arange(self.length + 1)[:, None]
    window = self.tokens.take(start + t, mode="clip")  # [K + 1, B]
    targets = np.where(row < self._windows, self.tokens.size - 1 - start, 0)
    weight = (t[:-1] < targets).astype(np.float32)
    reset = np.zeros(weight.shape, bool)
    reset[0] = True
    return Batch(window[:-1], window[1:], weight, reset, None)

  def __repr__(self) -> str:
    return (
      f"Windows(tokens={_digest(self.tokens)}, batch={self.batch}, "
      f"length={self.length}, stride={self.stride}, seed={self.seed}, "
      f"shuffle={self.shuffle}, columns={self.columns})"
    )

  def _draw_starts(self, epoch: int) -> NDArray[np.integer]:
    if not self.shuffle:
      return np.arange(self._windows) * self.stride
    rng = np.random.default_rng((self.seed, epoch))
    offset = rng.integers(self._slack, endpoint=True)
    return offset + rng.permutation(self._windows) * self.stride


def _checked(tokens: ArrayLike, batch: int, length: int) -> NDArray[np.int32]:
  tokens = np.asarray(tokens, np.int32)
  if tokens.ndim != 1:
    raise ValueError(f"tokens must be a sequence [N], not an array {tokens.shape}")
  if batch < 1 or length < 1:
    raise BadInput(f"batch={batch} and length={length} must both be at least 1")
  return tokens


def _check_step(step: int) -> None:
  if step < 0:
    raise IndexError(f"step must be 0 or more, not {step}")


def _digest(array: NDArray[np.integer]) -> str:
  return f"sha256:{hashlib.sha256(array.astype(np.int64).tobytes()).hexdigest()[:16]}"
