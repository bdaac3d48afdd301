"""Pairs side by side: what a translator reads, and what it learns to write."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.buckets import Buckets
from unroll.data.examples import Examples, padded
from unroll.data.forcing import Sampling
from unroll.data.pairs.reader import Source


class Given(NamedTuple):
  """What a model reads, padded to S source tokens.

  Attributes:
    tokens: int32 `[S, B]`, 0 at padding.
    valid: bool `[S, B]`, False at padding; a source may have no token.
    copies: int32 `[S, B]`, what a copy of each token puts out, see `reader.Source`.
    sampling: what is read before each target; None: the true token.
  """

  tokens: NDArray[np.int32]
  valid: NDArray[np.bool_]
  copies: NDArray[np.int32]
  sampling: Sampling | None = None


def given(sources: Sequence[Source], rows: NDArray[np.integer], steps: int) -> Given:
  """Some sources side by side.

  Args:
    sources: of `Reader.read`.
    rows: which of them, `[B]`; -1 is a column of padding.
    steps: S, at least the length of each and 1.
  """
  tokens, valid = padded([source.tokens for source in sources], rows, steps)
  copies, _ = padded([source.copies for source in sources], rows, steps)
  return Given(tokens, valid, copies)


class Batches(Buckets[Examples]):
  """Batches of pairs of like length: `Examples` of `Given`.

  The targets are int32 `[T, B]`, each with `<eos>` last. A pair is as long as its
  longer side. S and T are those of a bucket: the most among all pairs that are no
  longer than its bound.

  Args:
    sources: of `Reader.read`.
    targets: of `Reader.write`, as many.
    batch: pairs in a batch of mean length.
    **options: of `Buckets`.
  """

  def __init__(
    self,
    sources: Sequence[Source],
    targets: Sequence[NDArray[np.int32]],
    batch: int,
    **options: Any,
  ):
    self._sources = np.array([len(source.tokens) for source in sources])
    self._targets = np.array([len(target) for target in targets])
    columns = [source.tokens for source in sources], [s.copies for s in sources]

    def make(rows: NDArray[np.int64], steps: int) -> Examples:
      most, steps = self.most(steps)
      (tokens, valid), (copies, _) = (padded(each, rows, most) for each in columns)
      wanted, real = padded(targets, rows, steps)
      return Examples(
        Given(tokens, valid, copies), wanted, real.astype(np.float32), real
      )

    lengths = np.maximum(self._sources, self._targets)
    super().__init__(lengths, make, batch, **options)
    self.most = functools.cache(self._most)

  def _most(self, bound: int) -> tuple[int, int]:
    """S and T of the bucket up to a bound."""
    fits = np.maximum(self._sources, self._targets) <= bound
    sizes = self._sources[fits].max(initial=1), self._targets[fits].max(initial=1)
    return int(sizes[0]), int(sizes[1])
