"""The text of the flags, in numbers and in batches."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from absl import flags

from experiments.session import common
from unroll import memory
from unroll.data import corpora, splits
from unroll.data.batches import ALL, Lanes, Source, Windows
from unroll.data.vocabulary import UNKNOWN, Vocabulary
from unroll.types import BadInput

FLAGS = flags.FLAGS


class Dataset(NamedTuple):
  """A corpus in numbers.

  Attributes:
    vocabulary: built from the training text.
    tokens: int32 ids of each split.
    tokens_per_char: of each split, to turn nats a token into bits a character.
    digest: sha256 of the corpus.
  """

  vocabulary: Vocabulary
  tokens: Mapping[str, np.ndarray]
  tokens_per_char: Mapping[str, float]
  digest: str


def load(known: Vocabulary | None = None) -> Dataset:
  """Loads, normalises, splits and numbers the corpus of the flags.

  Args:
    known: the vocabulary of an existing run; None builds it from the training text.
  """
  tokenizer = FLAGS.tokenizer
  if tokenizer == "byte" and FLAGS.min_count > 1:
    raise BadInput(
      f"--min_count={FLAGS.min_count} makes tokens <unk>, which --tokenizer=byte has "
      "not: drop it"
    )
  corpus = corpora.load(FLAGS.corpus, tokenizer)
  if corpus.pretokenized and tokenizer == "word":
    tokenizer = "whitespace"
  parts = splits.split(corpus, FLAGS.split, FLAGS.normalize)
  vocab = known or Vocabulary.build(
    parts["train"], tokenizer, FLAGS.normalize, min_count=FLAGS.min_count
  )
  tokens = {name: vocab.encode(part) for name, part in parts.items()}
  for name, ids in tokens.items():
    if ids.size < 2:
      raise BadInput(
        f"--corpus={FLAGS.corpus}: its {name} split needs 2 tokens or more and has "
        f"{ids.size}: give a longer text or another --split"
      )
  if len(vocab) < 2 and FLAGS.min_count > 1:
    raise BadInput(
      f"--min_count={FLAGS.min_count}: no token of the training text is that frequent; "
      "lower it"
    )
  if len(vocab) < 2:
    raise BadInput(
      f"--corpus={FLAGS.corpus}: its train split has no token but {UNKNOWN}: give "
      "another text"
    )
  density = {name: tokens[name].size / len(part) for name, part in parts.items()}
  return Dataset(vocab, tokens, density, corpus.digest)


def source(tokens: np.ndarray, columns: slice = ALL) -> Source:
  """The training batches, or some columns, as scheme and partition ask for them."""
  how = common.scheme().chunks
  steps = (
    f"--window={FLAGS.window}" if FLAGS.window else f"--truncation={FLAGS.truncation}"
  )
  if FLAGS.partition == "random":
    if how.overlap or how.lengths:
      raise BadInput(
        f"--truncation={FLAGS.truncation} needs a state that passes from chunk to "
        "chunk: use --partition=sequential, or tbptt:K or full with random windows"
      )
    length = FLAGS.window or how.length
    if length is None:
      raise BadInput("--truncation=full with random windows needs their --window=STEPS")
    _refuse_beyond(min(length, tokens.size), steps)
    drawn = {"stride": FLAGS.stride, "seed": FLAGS.seed}
    with _blaming(steps):
      return Windows(tokens, FLAGS.batch, length, **drawn, columns=columns)
  if FLAGS.stride:
    raise BadInput("--stride is for --partition=random; lanes are read step by step")
  lane = -(-(tokens.size - 1) // FLAGS.batch)
  draw = how.lengths
  if draw is None:
    # No chunk is longer than a lane: the rest would be padding.
    length = min(FLAGS.window or how.length or lane, lane)
    _refuse_beyond(how.overlap + length, steps)
    with _blaming(f"--batch={FLAGS.batch}"):
      return Lanes(tokens, FLAGS.batch, length, overlap=how.overlap, columns=columns)
  if FLAGS.window:
    raise BadInput(
      f"--truncation={FLAGS.truncation} draws its own lengths: drop --window"
    )

  def lengths(epoch: int, seed: int = FLAGS.seed) -> np.ndarray:
    return draw(np.random.default_rng((seed, epoch)), lane)

  length = how.length or lane
  _refuse_beyond(length, steps)
  with _blaming(f"--batch={FLAGS.batch}"):
    return Lanes(tokens, FLAGS.batch, length, lengths=lengths, columns=columns)


@contextlib.contextmanager
def _blaming(flag: str) -> Iterator[None]:
  """Names the flag that has a source refuse its argument."""
  try:
    yield
  except BadInput as error:
    raise BadInput(f"{flag}: {error}") from None


def _refuse_beyond(rows: int, steps: str) -> None:
  """Refuses batches of so many steps that do not fit into memory."""
  step = sum(np.dtype(kind).itemsize for kind in (np.int32, np.int32, np.float32, bool))
  told = f"--batch={FLAGS.batch} of {steps} with --dispatch={FLAGS.dispatch}"
  memory.check(FLAGS.dispatch * rows * FLAGS.batch * step, told)


def windowed(tokens: np.ndarray) -> Source:
  """Evaluation in windows: a fresh carry for each."""
  rows = min(
    max(16384 // FLAGS.eval_window, 1), max(tokens.size // FLAGS.eval_window, 1)
  )
  length = min(FLAGS.eval_window, tokens.size - 1)
  return Windows(tokens, rows, length, stride=FLAGS.eval_stride, shuffle=False)


def streamed(tokens: np.ndarray) -> Source:
  """Evaluation in order: the carry passes through lanes of at least 4,096 tokens."""
  lanes = min(max(tokens.size // 4096, 1), 64)
  return Lanes(tokens, lanes, min(FLAGS.eval_window, tokens.size - 1))
