"""Sentences with a label, and how peers put them into batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.shapes import Shape
from experiments.parts import examples
from unroll.data import cache

CLASSES = 2
SST2 = "sst2"
# Of sentences that are drawn: the steps of training in an epoch, and the tokens.
BATCHES, VOCABULARY = 108, 14_000
WINDOW = 50  # batches that are sorted by length together


class Sentences(NamedTuple):
  """What a classifier learns from.

  Attributes:
    tokens: of each sentence, int32 `[T]`, from 0.
    labels: of each, int32 `[N]`.
    vocabulary: V.
  """

  tokens: list[NDArray[np.int32]]
  labels: NDArray[np.int32]
  vocabulary: int


def there() -> str:
  """The set whose sentences are in the cache of data, or "": none is fetched."""
  files = [cache.root() / SST2 / f"{part}.tsv" for part in ("train", "dev", "test")]
  return SST2 if all(file.exists() for file in files) else ""


def sentences(shape: Shape, data: str) -> Sentences:
  """The training sentences of a set, or sentences drawn from a seed.

  Args:
    shape: of those that are drawn: the sentences of a batch, their mean length.
    data: the name of a set; "" draws lengths, spread as those of SST-2 are, tokens and
      labels.
  """
  if data:
    found = examples.load(examples.Examples(data=data))
    train = found.sequences["train"], found.labels["train"]
    return Sentences(*train, found.reader.shape.vocabulary)
  draw = np.random.default_rng(0)
  count = BATCHES * shape.batch
  lengths = np.maximum(draw.gamma(4, shape.steps / 4, count).round(), 1).astype(int)
  return Sentences(
    [draw.integers(VOCABULARY, size=length, dtype=np.int32) for length in lengths],
    draw.integers(CLASSES, size=count, dtype=np.int32),
    VOCABULARY,
  )


def shuffled(given: Sentences, batch: int) -> Iterator[NDArray[np.int64]]:
  """The sentences of each batch of an epoch, in random order."""
  order = np.random.default_rng(1).permutation(len(given.tokens))
  yield from (order[i : i + batch] for i in range(0, len(order), batch))


def windowed(given: Sentences, batch: int) -> Iterator[NDArray[np.int64]]:
  """The same, sorted by length within windows of `WINDOW` batches, longest first."""
  lengths = np.array([len(tokens) for tokens in given.tokens])
  draw = np.random.default_rng(1)
  order, window = draw.permutation(len(lengths)), batch * WINDOW
  batches: list[NDArray[np.int64]] = []
  for start in range(0, len(order), window):
    part = order[start : start + window]
    part = part[np.argsort(-lengths[part], kind="stable")]
    batches += [part[i : i + batch] for i in range(0, len(part), batch)]
  yield from (batches[i] for i in draw.permutation(len(batches)))
