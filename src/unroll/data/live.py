"""Batches of what is still being written: in order, as soon as they are there.

A file is read from its start, of which what was learned before the first step is passed
over; standard input from where it is.
"""

import abc
import codecs
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import AnyBatch, Batch, Source
from unroll.data.prefetch import room, stacked
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

STANDARD_INPUT = "-"
WAIT = 0.1  # seconds between two looks at a stream that stands still
BLOCK = 2**16  # bytes read at once


class Incoming:
  """The bytes of a file that may grow, or of standard input.

  Args:
    file: its path; "-": standard input.
    follow: seconds that a file may stand still before its end is the stream's. A pipe
      ends when those that write into it have closed it.

  Raises:
    BadInput: the file cannot be read.
  """

  def __init__(self, file: str, follow: float = 0.0):
    self._follow, self._since = follow, time.monotonic()
    self.name, self.standard = file, file == STANDARD_INPUT
    if self.standard:
      self.name, self._file, self._follow = "standard input", sys.stdin.fileno(), 0.0
      return
    try:
      if os.path.isdir(file):
        raise IsADirectoryError(0, "it is a folder")
      self._file = os.open(file, os.O_RDONLY)
    except OSError as error:
      raise BadInput(f"{file} cannot be read ({error.strerror})") from None

  def read(self) -> bytes | None:
    """What is there, or comes within a tenth of a second; None: it has ended."""
    if not select.select([self._file], [], [], WAIT)[0]:
      return b""
    data = os.read(self._file, BLOCK)
    now = time.monotonic()
    if data:
      self._since = now
      return data
    if now - self._since >= self._follow:
      return None
    time.sleep(WAIT)  # a file is always ready to be read, also at its end
    return b""


class Live(Source[AnyBatch]):
  """Batches that come in while they are read; each is there once, in order.

  It has no epochs: whoever goes on with it takes up where it is by then. What comes
  after the last full batch is left for later.

  Args:
    incoming: the bytes.
  """

  live = True
  rows = 1

  def __init__(self, incoming: Incoming):
    self._incoming = incoming
    self._begun = self._ended = False

  @abc.abstractmethod
  def begin(self, step: int) -> None:
    """The step of the first batch that will be asked for."""

  @abc.abstractmethod
  def count(self, step: int) -> int:
    """The whole batches from a step on that are there."""

  @abc.abstractmethod
  def take(self, data: bytes, step: int, last: bool) -> None:
    """Adds what came in, and forgets what no batch from `step` on holds.

    Args:
      data: bytes, of which the last line need not be whole.
      step: the next to be asked for.
      last: whether nothing can follow.
    """

  def ready(self, step: int, most: int, asked: Callable[[], bool]) -> int:
    """How many batches from a step on are there; waits for the first of them.

    Args:
      step: that of the first call is where the reader is; none goes back.
      most: the most to count.
      asked: true once someone asked for a stop: the wait is over.

    Returns:
      1 to `most`; 0: the stream has ended, or a stop was asked for.

    Raises:
      BadInput: it has ended before there was a first batch of the first step.
    """
    if not self._begun:
      self._begun = True
      self.begin(step)
    while not (count := self.count(step)):
      if asked():
        return 0
      if self._ended:
        if not step:
          raise BadInput(f"{self._incoming.name} ended before there was a batch")
        return 0
      data = self._incoming.read()
      self._ended = data is None
      # A file may be read again once it is longer: what it ends with waits until then.
      self.take(data or b"", step, self._ended and self._incoming.standard)
    return min(count, most)

  def __len__(self) -> int:
    return sys.maxsize

  def epoch(self, step: int) -> int:
    return 0


def arriving(
  source: Live[AnyBatch],
  start: int,
  stop: int | None,
  per_dispatch: int,
  periods: Sequence[int],
  asked: Callable[[], bool],
) -> Iterator[tuple[int, AnyBatch]]:
  """What `prefetch.dispatches` is for other sources; none waits to be full.

  Args:
    source: the batches.
    start: the first step.
    stop: the step to stop before; None to go on to the stream's end.
    per_dispatch: the most steps of a dispatch.
    periods: no dispatch crosses a multiple of these; 0 is never.
    asked: true once someone asked for a stop.
  """
  step = start
  while most := min(per_dispatch, room(step, stop, periods)):
    count = source.ready(step, most, asked)
    if not count:
      return
    batches = [source[step + number] for number in range(count)]
    yield count, stacked(batches, per_dispatch)
    step += count


class LiveText(Live[Batch]):
  """A text as one sequence, `[K, 1]` at a time: every token a target exactly once.

  Characters and bytes are taken as they come, other tokens line by line. What is not
  UTF-8 becomes U+FFFD, unless tokens are bytes.

  Args:
    incoming: the text.
    vocabulary: of its tokens.
    length: new steps in each batch, K.
    overlap: steps that a batch repeats before the new ones, as context; those that
      were not read are not valid.
  """

  def __init__(
    self, incoming: Incoming, vocabulary: Vocabulary, length: int, overlap: int = 0
  ):
    super().__init__(incoming)
    self._vocabulary, self.length, self.overlap = vocabulary, length, overlap
    coding = ("utf-8-sig", "replace")
    if vocabulary.tokenizer == "byte":
      coding = ("utf-8", "surrogateescape")
    self._decoder = codecs.getincrementaldecoder(coding[0])(coding[1])
    single = vocabulary.tokenizer in ("char", "byte") and vocabulary.normalize == "none"
    self._line_by_line = not single
    self._text = ""  # of a line that is not whole yet
    self._tokens = np.zeros(0, np.int32)
    self._at = self._first = 0  # the positions of the first token here, and of all

  def __repr__(self) -> str:
    return f"LiveText(length={self.length}, overlap={self.overlap}, {id(self)})"

  def example(self) -> Batch:
    at = np.arange(-self.overlap, self.length)
    return self._batch(np.zeros(at.size + 1, np.int32), at)

  def begin(self, step: int) -> None:
    self._first = self._at = step * self.length if self._incoming.standard else 0

  def count(self, step: int) -> int:
    return max(self._at + self._tokens.size - 1 - step * self.length, 0) // self.length

  def take(self, data: bytes, step: int, last: bool) -> None:
    text, self._text = self._text + self._decoder.decode(data, last), ""
    if self._line_by_line and not last:
      end = text.rfind("\n") + 1
      text, self._text = text[:end], text[end:]
    tokens = np.append(self._tokens, self._vocabulary.encode(text))
    past = min(max(step * self.length - self.overlap - self._at, 0), tokens.size)
    self._tokens, self._at = tokens[past:], self._at + past

  def __getitem__(self, step: int) -> Batch:
    start, stop = step * self.length - self.overlap, (step + 1) * self.length
    at = np.arange(start, stop + 1)
    return self._batch(self._tokens.take(at - self._at, mode="clip"), at[:-1])

  def _batch(self, window: NDArray[np.int32], at: NDArray[np.integer]) -> Batch:
    window, at = window[:, None], at[:, None]
    weight = (at >= self._first).astype(np.float32)
    valid = weight > 0 if self.overlap else None
    return Batch(window[:-1], window[1:], weight, at == 0, valid)
