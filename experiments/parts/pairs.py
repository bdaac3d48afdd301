"""Pairs of texts as settings choose them: read, split, numbered, in batches."""

import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from numpy.typing import NDArray

from unroll.data import text as text_lib
from unroll.data.batches import ALL
from unroll.data.pairs import Batches, Pair, Reader, Source, files, named
from unroll.data.splits import NAMES
from unroll.data.synthetic import transductions
from unroll.settings import setting
from unroll.types import BadInput

ROWS = 128  # pairs of mean length side by side in an evaluation


@dataclass(frozen=True)
class Pairs:
  """Pairs of texts"""

  data: str = setting(
    "multi30k:de-en",
    f"pairs by their name, and their direction: {', '.join(named.SETS)}; or made by a "
    f"rule: {', '.join(transductions.FORMS)}, as addition:5",
  )
  train: str = setting(
    "",
    "a file to learn from instead of data: a text a line, or with train_target empty a "
    "pair a line, with a tab between; .gz is unpacked",
    kind="path",
    role="data",
  )
  train_target: str = setting(
    "", "a file of what each line of train becomes", kind="path", role="data"
  )
  val: str = setting(
    "", "such a file to validate on; empty: split", kind="path", role="data"
  )
  val_target: str = setting(
    "", "what each line of val becomes", kind="path", role="data"
  )
  test: str = setting("", "such a file to test on", kind="path", role="data")
  test_target: str = setting(
    "", "what each line of test becomes", kind="path", role="data"
  )
  split: str = setting(
    "",
    "train,val[,test] of pairs that come in one part: counts take them in order, "
    f"fractions at random by source; empty: {files.SPLIT}",
  )
  first: int = setting(
    0,
    "training pairs to use, the first of them; 0: all, and of a rule, which makes as "
    f"many as one asks for, {transductions.TRAIN:,}",
    least=0,
  )
  tokenizer: str = setting(
    "",
    "what a token is: char, word, joined (words and marks that join without loss), "
    "whitespace, bpe:N or unigram:N; empty: char for pairs made by a rule, else joined",
  )
  normalize: str = setting(
    "lower", "what is done to texts before", choices=sorted(text_lib.NORMALIZERS)
  )
  min_count: int = setting(1, "rarer tokens become <unk>", least=1)
  joint: bool = setting(False, "one vocabulary for sources and targets")
  longest: int = setting(
    0, "tokens of a side beyond which a training pair is left out; 0: none", least=0
  )
  buckets: int = setting(6, "lengths that pairs are padded to, a program each", least=1)
  reverse_source: bool = setting(
    False, "sources are read from their end to their start"
  )
  end_source: bool = setting(False, "sources end with <eos> as targets do")
  copy: bool = setting(
    False, "a target token that is unknown is learned as a copy of its source's"
  )


class Data(NamedTuple):
  """What there is to learn from.

  Attributes:
    settings: what chose it.
    reader: how texts become numbers.
    parts: the pairs of "train", "val" and, where there are such, "test" and "longer".
    sources: of each part, as a model reads them.
    targets: of each part, as a model writes them.
  """

  settings: Pairs
  reader: Reader
  parts: Mapping[str, list[Pair]]
  sources: Mapping[str, list[Source]]
  targets: Mapping[str, list[NDArray]]

  def training(self, batch: int, seed: int, columns: slice = ALL) -> Batches:
    """Batches of the training part in random order."""
    return self._batches("train", batch, seed=seed, columns=columns)

  def evaluation(self, part: str) -> Batches:
    """Every pair of a part, by length; a decoder reads the true tokens."""
    return self._batches(part, ROWS, shuffle=False)

  def texts(self, part: str) -> list[tuple[str, str]]:
    """The sources of a part, and what they should become, as they are written."""
    return [(pair.source, pair.target) for pair in self.parts[part]]

  @property
  def sha256(self) -> str:
    """The digest of all that a model learns from."""
    return files.digest(self.parts)

  def _batches(self, part: str, batch: int, **options) -> Batches:
    return Batches(
      self.sources[part],
      self.targets[part],
      batch,
      buckets=self.settings.buckets,
      digest=files.digest({part: self.parts[part]}),
      **options,
    )


def exact(settings: Pairs) -> bool:
  """Whether a target is right or wrong as a whole, being made by a rule."""
  return not settings.train and named.synthetic(settings.data)


def load(
  settings: Pairs,
  known: Reader | None = None,
  warn: Callable[[str], object] = warnings.warn,
) -> Data:
  """Reads, checks and numbers the pairs that the settings name.

  Args:
    settings: which, and how.
    known: the reader of a run that is there; None makes one of the training part.
    warn: called with a sentence about training pairs that are left out.

  Raises:
    BadInput: a file is faulty, or the settings do not fit one another.
  """
  tokenizer = settings.tokenizer or ("char" if exact(settings) else "joined")
  parts = dict(_parts(settings))
  parts["train"] = _filled(settings, parts["train"], warn)
  reader = known or Reader.build(
    parts["train"],
    tokenizer,
    settings.normalize,
    min_count=settings.min_count,
    joint=settings.joint,
    reverse=settings.reverse_source,
    end=settings.end_source,
    copy=settings.copy,
  )
  sources = {name: reader.read([p.source for p in own]) for name, own in parts.items()}
  targets = {
    name: reader.write([p.target for p in own], sources[name])
    for name, own in parts.items()
  }
  if settings.longest:
    fits = [
      len(source.pieces) - reader.end <= settings.longest
      and len(target) - 1 <= settings.longest
      for source, target in zip(sources["train"], targets["train"])
    ]
    out = fits.count(False)
    if out:
      warn(
        f"{out} of {len(fits)} training pairs have more than {settings.longest} tokens "
        "on a side, and are left out"
      )
    parts["train"] = list(itertools.compress(parts["train"], fits))
    sources["train"] = list(itertools.compress(sources["train"], fits))
    targets["train"] = list(itertools.compress(targets["train"], fits))
  if not parts["train"]:
    raise BadInput(
      f"longest={settings.longest} leaves no training pair: give more tokens"
    )
  return Data(settings, reader, parts, sources, targets)


def _filled(
  settings: Pairs, pairs: list[Pair], warn: Callable[[str], object]
) -> list[Pair]:
  """The first training pairs, without those that have an empty side."""
  pairs = pairs[: settings.first or None]

  def empty(text: str) -> bool:
    return not text_lib.normalize(text, settings.normalize).strip()

  found = [pair for pair in pairs if not any(map(empty, pair))]
  if not found:
    raise BadInput(
      f"all {len(pairs)} training pairs have an empty side: give pairs of texts"
    )
  if len(found) < len(pairs):
    warn(
      f"{len(pairs) - len(found)} of {len(pairs)} training pairs have an empty side, "
      "and are left out"
    )
  return found


def _parts(settings: Pairs) -> Mapping[str, list[Pair]]:
  """The pairs of each part."""
  for part in NAMES:
    if getattr(settings, f"{part}_target") and not getattr(settings, part):
      raise BadInput(f"`{part}_target` is a file and `{part}` is none: give that too")
  if not settings.train:
    if settings.val or settings.test:
      raise BadInput("`val` and `test` are files and `train` is none: give that too")
    return named.load(settings.data, settings.split, settings.first)
  if settings.test and not settings.val:
    raise BadInput("`test` is a file and `val` is none: give both")
  found = {
    part: files.read(
      Path(getattr(settings, part)),
      Path(target) if (target := getattr(settings, f"{part}_target")) else None,
    )
    for part in NAMES
    if getattr(settings, part)
  }
  if "val" in found:
    if settings.split:
      raise BadInput(f"split={settings.split}: the files are split already; drop it")
    return found
  return files.parted(found["train"], settings.split, settings.train)
