"""Documents packed into rows: one after another without padding, each read alone."""

from collections.abc import Callable

import numpy as np

from unroll.data.batches import Batch, Source


class Packed(Source[Batch]):
  """Batches of text in which every document starts from a fresh state.

  A document starts with the token that ended the one before it, as a model starts that
  is asked for the first line of a text: the state is fresh before that token is read.
  So every token is still a target, and none is predicted from another document.

  Args:
    source: batches of the text.
    end: the token that ends a document.
  """

  def __init__(self, source: Source[Batch], end: int):
    self.source, self.end, self.rows = source, end, source.rows
    self.live = source.live

  def __len__(self) -> int:
    return len(self.source)

  def epoch(self, step: int) -> int:
    return self.source.epoch(step)

  def example(self) -> Batch:
    return self.source.example()

  def ready(self, step: int, most: int, asked: Callable[[], bool]) -> int:
    """See `live.Live`."""
    return self.source.ready(step, most, asked)  # type: ignore[attr-defined]

  def __getitem__(self, step: int) -> Batch:
    batch = self.source[step]
    starts = np.asarray(batch.inputs) == self.end
    return batch._replace(reset=batch.reset | starts)

  def __repr__(self) -> str:
    return f"Packed({self.source!r}, end={self.end})"
