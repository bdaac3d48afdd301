"""Text: its settings, and how they make it numbers and batches."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.parts import layers
from experiments.session.settings import Settings
from experiments.session.task import Evaluation, MakeCarry, MakeLoss, Size, Task
from experiments.session.terminal import warn
from experiments.session.training import Training, Truncation
from unroll import memory, remat, scan
from unroll.data import corpora, splits, text, tokens
from unroll.data.batches import ALL, Lanes, Source, Windows
from unroll.data.vocabulary import UNKNOWN, VOCABULARY, Vocabulary
from unroll.gradients import ChunkLoss, Scheme
from unroll.layers import initial_carry
from unroll.metrics import BITS_PER_BYTE, BITS_PER_CHAR, NATS, PERPLEXITY
from unroll.models.parts import EMBEDDING_DROPOUT
from unroll.settings import setting
from unroll.types import BadInput, Sums


@dataclass(frozen=True)
class Corpus:
  """Text"""

  corpus: str = setting(
    "pydoc",
    "the text: pydoc, stdlib, a registry name, or a text file",
    kind="path",
    role="data",
  )
  tokenizer: str = setting("char", f"what a token is: {tokens.HELP}", kind="path")
  normalize: str = setting(
    "none",
    "none, or letters: lower case, a-z and space only",
    choices=sorted(text.NORMALIZERS),
  )
  min_count: int = setting(1, "rarer tokens become <unk>", least=1)
  split: str = setting(
    "",
    "train,val[,test] as fractions (0.9,0.1) or ranges of characters "
    "(0:900,900:1000); empty: the official split, else 0.9,0.1",
  )


@dataclass(frozen=True)
class Text(Corpus):
  """Text"""

  embedding: int = setting(64, "width of the embedding; 0: one-hot", least=0)
  embedding_dropout: float = setting(0.0, EMBEDDING_DROPOUT)


@dataclass(frozen=True)
class Batches:
  """Batches of text"""

  window: int = setting(0, "steps a batch spans; 0: what the truncation takes", least=0)
  stride: int = setting(
    0, "steps from one random window to the next; 0: the window", least=0
  )
  eval_window: int = setting(256, "steps of a validation window", least=1)
  eval_stride: int = setting(
    0, "steps from one validation window to the next; 0: the window", least=0
  )


class Dataset(NamedTuple):
  """A corpus in numbers.

  Attributes:
    vocabulary: built from the training text.
    tokens: int32 ids of each split.
    facts: of each split its tokens, by the characters and bytes they stand for.
    digest: sha256 of the corpus.
  """

  vocabulary: Vocabulary
  tokens: Mapping[str, np.ndarray]
  facts: Mapping[str, Mapping[str, Sums]]
  digest: str


def load(settings: Corpus, known: Vocabulary | None = None) -> Dataset:
  """Loads, normalises, splits and numbers a corpus.

  Args:
    settings: which, and how.
    known: the vocabulary of an existing run; None builds it from the training text.
  """
  tokenizer = settings.tokenizer
  tokens.check(tokenizer, settings.min_count)
  corpus = corpora.load(settings.corpus, tokenizer)
  if corpus.pretokenized and tokenizer == "word":
    tokenizer = "whitespace"
  parts = splits.split(corpus, settings.split, settings.normalize)
  vocab = known or tokens.build(
    parts["train"], tokenizer, settings.normalize, min_count=settings.min_count
  )
  ids = {name: vocab.encode(part) for name, part in parts.items()}
  _refuse_short(settings, vocab, ids)
  _warn_of_text(settings, vocab, parts["train"], known is None)
  facts = {name: _facts(ids[name].size, part) for name, part in parts.items()}
  return Dataset(vocab, ids, facts, corpus.digest)


def _facts(size: int, part: str) -> dict[str, Sums]:
  length = len(part.encode("utf-8", "surrogateescape"))
  return {
    "tokens_per_char": Sums(size, len(part)),  # type: ignore[arg-type]
    "tokens_per_byte": Sums(size, length),  # type: ignore[arg-type]
  }


def _warn_of_text(settings: Corpus, vocab: Vocabulary, text: str, new: bool) -> None:
  """Warns where a model reads another text than people see.

  A tokenizer.json may change it: its bits are then those of another. Line ends may have
  a character that nobody wants to be learned, which a new run is told.
  """
  start = text[:10_000]
  if vocab.tokenizer.endswith(".json") and vocab.decode(vocab.encode(start)) != start:
    warn(
      f"tokenizer={vocab.tokenizer} does not give the text back as it was: its bits "
      "per character are not those of other tokenizers"
    )
  if new and "\r\n" in text and "\r" in vocab.decode(vocab.encode("\r\n")):
    warn(
      f"corpus={settings.corpus} has lines that end in \\r\\n, and the model learns "
      "each \\r: convert them to \\n if it should not"
    )


def _refuse_short(
  settings: Corpus, vocab: Vocabulary, tokens: Mapping[str, np.ndarray]
) -> None:
  """Refuses splits and vocabularies that nothing can be learned from."""
  for name, ids in tokens.items():
    if ids.size < 2:
      raise BadInput(
        f"corpus={settings.corpus}: its {name} split needs 2 tokens or more and has "
        f"{ids.size}: give a longer text or another `split`"
      )
  if len(vocab) < 2 and settings.min_count > 1:
    raise BadInput(
      f"min_count={settings.min_count}: no token of the training text is that "
      "frequent; lower it"
    )
  if len(vocab) < 2:
    raise BadInput(
      f"corpus={settings.corpus}: its train split has no token but {UNKNOWN}: give "
      "another text"
    )


def known(files: Mapping[str, str] | None) -> Vocabulary | None:
  """The vocabulary of a run that is there already, from its texts by name."""
  return None if files is None else tokens.from_json(files[VOCABULARY])


def lanes(
  settings: Settings, tokens: np.ndarray, seed: int, columns: slice = ALL
) -> Source:
  """Training batches in order: the carry passes from chunk to chunk."""
  chunks, batch = settings[Truncation].scheme().chunks, settings[Training].batch
  batches = settings[Batches]
  if batches.stride:
    raise BadInput("`stride` is for random windows; lanes are read step by step")
  lane = -(-(tokens.size - 1) // batch)
  draw = chunks.lengths
  if draw is not None and batches.window:
    raise BadInput(
      f"{settings.shown('truncation')} draws its own lengths: drop `window`"
    )
  # No chunk is longer than a lane: the rest would be padding.
  length = min(batches.window or chunks.length or lane, lane)
  options: dict = {"overlap": chunks.overlap}
  if draw is not None:
    length = chunks.length or lane
    options = {
      "lengths": lambda epoch: draw(np.random.default_rng((seed, epoch)), lane)
    }
  _refuse_beyond(chunks.overlap + length, settings)
  with _blaming(f"batch={batch}"):
    return Lanes(tokens, batch, length, columns=columns, **options)


def windows(
  settings: Settings, tokens: np.ndarray, seed: int, columns: slice = ALL
) -> Source:
  """Training batches of random windows, each with a fresh carry."""
  chunks, batch = settings[Truncation].scheme().chunks, settings[Training].batch
  batches = settings[Batches]
  if chunks.overlap or chunks.lengths:
    raise BadInput(
      f"{settings.shown('truncation')} needs a state that passes from chunk to chunk, "
      "and random windows have none: use tbptt:K or full, or partition=sequential"
    )
  length = batches.window or chunks.length
  if length is None:
    raise BadInput(
      "truncation=full with random windows needs their length: give `window`"
    )
  _refuse_beyond(min(length, tokens.size), settings)
  stride = batches.stride
  with _blaming(_steps(settings)):
    return Windows(tokens, batch, length, stride=stride, seed=seed, columns=columns)


def evaluation_windows(settings: Batches, tokens: np.ndarray) -> Source:
  """Evaluation in windows: a fresh carry for each."""
  window = settings.eval_window
  rows = min(max(16384 // window, 1), max(tokens.size // window, 1))
  length = min(window, tokens.size - 1)
  return Windows(tokens, rows, length, stride=settings.eval_stride, shuffle=False)


def evaluation_lanes(settings: Batches, tokens: np.ndarray) -> Lanes:
  """Evaluation in order: the carry passes through lanes of at least 4,096 tokens."""
  lanes = min(max(tokens.size // 4096, 1), 64)
  return Lanes(tokens, lanes, min(settings.eval_window, tokens.size - 1))


def task(
  settings: Settings,
  data: Dataset,
  model: Any,
  *,
  kind: str,
  loss: Callable[[Any, remat.Plan, scan.Backward], ChunkLoss],
  train: Callable[[Settings, np.ndarray, int, slice], Source],
  sources: Mapping[str, Callable[[Batches, np.ndarray], Source]],
  **others: Any,
) -> Task:
  """The task of a model of text, whose loss is in nats a token.

  Args:
    settings: of the page.
    data: the text.
    model: a Linen module of tokens `[T, B]` that has an `initial_carry`.
    kind: of the model, by which `unroll.load` builds it again.
    loss: (model, plan, backward) -> its chunk loss.
    train: `lanes` or `windows`.
    sources: how a split is evaluated, by name; the first decides.
    **others: further attributes of the task.
  """

  def evaluation(split: str) -> Evaluation:
    batches, tokens = settings[Batches], data.tokens[split]
    return Evaluation(
      {name: make(batches, tokens) for name, make in sources.items()},
      data.facts[split],
    )

  def around(scheme: Scheme) -> tuple[MakeCarry, MakeLoss] | None:
    core = getattr(model, "core", None)
    if core is None or core.around is None:
      return None
    changed = model.clone(core=core.around(scheme.cell), feedback=scheme.feedback)
    carry = functools.partial(initial_carry, changed)
    return carry, functools.partial(loss, changed)

  return Task(
    init=lambda key: model.init(key, jnp.zeros((1, 1), jnp.int32)),
    carry=functools.partial(initial_carry, model),
    loss=functools.partial(loss, model),
    around=around,
    train=lambda seed, columns: train(settings, data.tokens["train"], seed, columns),
    evaluations={s: evaluation(s) for s in ("val", "test") if s in data.tokens},
    measures=(NATS, BITS_PER_CHAR, BITS_PER_BYTE, PERPLEXITY),
    size=_size(settings),
    data=data.digest,
    model=kind,
    files={VOCABULARY: data.vocabulary.to_json()},
    splits={split: tokens.size for split, tokens in data.tokens.items()},
    counted="tokens",
    sized_by=layers.sized_by(settings, "embedding"),
    **others,
  )


def _size(settings: Settings) -> Size:
  """How large a training step is."""
  length = settings[Batches].window or settings[Truncation].scheme().chunks.length
  known = length and settings[Text].tokenizer == "char"  # words may be many
  sizes = layers.chosen(settings).sizes
  return Size(max(sizes), sum(sizes), float(length) if known and length else math.inf)


def _steps(settings: Settings) -> str:
  """The setting that says how many steps a batch has."""
  return settings.shown("window" if settings[Batches].window else "truncation")


@contextlib.contextmanager
def _blaming(argument: str) -> Iterator[None]:
  """Names the setting that has a source refuse its argument."""
  try:
    yield
  except BadInput as error:
    raise BadInput(f"{argument}: {error}") from None


def _refuse_beyond(rows: int, settings: Settings) -> None:
  """Refuses batches of so many steps that do not fit into memory."""
  training = settings[Training]
  step = sum(np.dtype(kind).itemsize for kind in (np.int32, np.int32, np.float32, bool))
  memory.check(
    training.dispatch * rows * training.batch * step,
    f"batch={training.batch} of {_steps(settings)} with dispatch={training.dispatch}",
  )
