"""Things with a label as settings choose them: read, split, numbered, in batches."""

import collections
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data import text as text_lib
from unroll.data import tokens
from unroll.data.batches import ALL
from unroll.data.buckets import Buckets
from unroll.data.classes import Labelled, arrays, audio, named, table
from unroll.data.classes.reader import Reader
from unroll.data.classes.value import check, split
from unroll.data.examples import labelled
from unroll.settings import setting
from unroll.types import BadInput

ROWS = 256  # sequences of mean length side by side in an evaluation


@dataclass(frozen=True)
class Examples:
  """Examples"""

  data: str = setting(
    "sst2",
    f"what to learn from: {', '.join(named.SETS)}; a .tsv, .csv or .jsonl file of "
    "texts; an .npz file of series; or a folder with a folder of .wav files a class",
    kind="path",
    role="data",
  )
  val: str = setting(
    "",
    "a file like that of data to validate on; empty: split",
    kind="path",
    role="data",
  )
  test: str = setting("", "a file to test on, beside val", kind="path", role="data")
  text: str = setting(
    "text", "the column of the texts; its number where a .tsv has no header"
  )
  label: str = setting("label", "the column of the labels, in the same way")
  split: str = setting(
    "", "fractions of train,val[,test] at random; empty: as published, or 0.8,0.1,0.1"
  )
  tokenizer: str = setting(
    "",
    f"what a token is: {tokens.HELP}; empty: as is known of the data, or word",
    kind="path",
  )
  normalize: str = setting(
    "none", "what is done to texts before", choices=sorted(text_lib.NORMALIZERS)
  )
  min_count: int = setting(1, "rarer tokens become <unk>", least=1)
  longest: int = setting(0, "steps of a sequence that are read; 0: all", least=0)
  buckets: int = setting(
    8, "lengths that sequences are padded to, a program each", least=1
  )
  class_weights: str = setting(
    "none",
    "how much a training example counts: the same, or as its class is rare",
    choices=("none", "balanced"),
  )


class Data(NamedTuple):
  """What there is to learn from.

  Attributes:
    settings: what chose it.
    reader: how things become sequences.
    sequences: of each part.
    labels: of each part, int32 `[N]`.
    digest: sha256 of things and labels.
  """

  settings: Examples
  reader: Reader
  sequences: Mapping[str, list[NDArray]]
  labels: Mapping[str, NDArray[np.int32]]
  digest: str

  def training(self, batch: int, seed: int, columns: slice = ALL) -> Buckets:
    """Batches of the training part in random order."""
    return self._batches("train", batch, seed=seed, columns=columns)

  def evaluation(self, part: str) -> Buckets:
    """Every example of a part, by length."""
    return self._batches(part, ROWS, shuffle=False)

  def _batches(self, part: str, batch: int, **options: Any) -> Buckets:
    sequences, labels = self.sequences[part], self.labels[part]
    weights = np.ones(len(self.reader.classes), np.float32)
    if part == "train" and self.settings.class_weights == "balanced":
      counts = np.bincount(labels, minlength=len(weights))
      weights = (len(labels) / (len(weights) * counts)).astype(np.float32)

    def make(rows: NDArray[np.int64], steps: int):
      batch = labelled(sequences, labels, rows, steps)
      return batch._replace(weight=batch.weight * weights[batch.targets])

    lengths = [len(sequence) for sequence in sequences]
    buckets, digest = self.settings.buckets, f"{self.digest}/{part}"
    return Buckets(lengths, make, batch, buckets=buckets, digest=digest, **options)


def load(settings: Examples, reader: Reader | None = None) -> Data:
  """Reads, splits and numbers what the settings name.

  Args:
    settings: which, and how.
    reader: that of a run that is there; None makes one of the training part.

  Raises:
    BadInput: the settings do not fit one another, or a file is faulty.
  """
  mel = reader.mel if reader is not None else None
  parts, mel = _parts(settings, mel)
  classes = check(parts)
  if reader is None:
    reader = _reader(settings, parts["train"], classes, mel)
  elif reader.classes != classes:
    raise BadInput(
      f"data={settings.data} has the classes {', '.join(classes)}, and the run "
      f"{', '.join(reader.classes)}: give what it was trained on"
    )
  digest = hashlib.sha256()
  for name, part in parts.items():
    digest.update(f"{name} {part.digest()}".encode())
  numbers = {label: number for number, label in enumerate(reader.classes)}
  return Data(
    settings,
    reader,
    {name: reader.sequences(part.inputs) for name, part in parts.items()},
    {
      name: np.array([numbers[label] for label in part.labels], np.int32)
      for name, part in parts.items()
    },
    digest.hexdigest(),
  )


def _reader(
  settings: Examples,
  train: Labelled,
  classes: tuple[str, ...],
  mel: audio.Mel | None,
) -> Reader:
  if isinstance(train.inputs[0], str):
    entry = named.SETS.get(settings.data)
    tokenizer = settings.tokenizer or (entry.tokenizer if entry else "") or "word"
    between = "" if tokenizer in ("char", "byte") else " "
    texts = between.join(train.inputs)  # type: ignore[arg-type]
    vocabulary = tokens.build(
      texts, tokenizer, settings.normalize, min_count=settings.min_count
    )
    return Reader(classes, vocabulary, (), (), None, settings.longest)
  for name in ("tokenizer", "normalize", "min_count"):
    if getattr(settings, name) != getattr(Examples, name):
      raise BadInput(
        f"{name}={getattr(settings, name)}: data={settings.data} holds no text; leave "
        "it out"
      )
  steps = np.concatenate(train.inputs)
  mean, scale = steps.mean(0, np.float64), steps.std(0, dtype=np.float64)
  scale = np.where(scale > 1e-8, scale, 1)
  return Reader(classes, None, tuple(mean), tuple(scale), mel, settings.longest)


def _parts(
  settings: Examples, mel: audio.Mel | None
) -> tuple[dict[str, Labelled], audio.Mel | None]:
  """The parts of the data, and how its sounds become features."""
  name = settings.data
  if name in named.SETS:
    if settings.val or settings.test:
      raise BadInput(f"`val` and `test` are of files, and data={name} has a name")
    mel = audio.Mel() if name == "fsdd" else None
    return dict(named.load(name, settings.split)), mel
  if settings.test and not settings.val:
    raise BadInput("`test` is a file and `val` is not: give both")
  files = {"train": name, "val": settings.val, "test": settings.test}
  found: dict[str, Labelled] = {}
  for part, file in files.items():
    if file:
      read, mel = _read(settings, Path(os.path.expanduser(file)), mel)
      found |= read if "all" not in read else {part: read["all"]}
  if "val" in found:
    if settings.split:
      raise BadInput(f"split={settings.split}: the files are split already; drop it")
    return found, mel
  return split(found["train"], settings.split), mel


def _read(
  settings: Examples, path: Path, mel: audio.Mel | None
) -> tuple[dict[str, Labelled], audio.Mel | None]:
  """The parts of one file or folder, or "all" of it."""
  if path.is_dir():
    mel = mel or audio.Mel()
    return {"all": audio.folder(path, mel)}, mel
  if not os.path.lexists(path):
    named.load(str(path))  # which says what there is
  if path.suffix == ".npz":
    return arrays.read(path), None
  if path.suffix not in table.KINDS:
    raise BadInput(
      f"data={path}: give a file that ends in {', '.join(table.KINDS)} or .npz, or a "
      "folder of sounds"
    )
  return {"all": table.read(path, settings.text, settings.label)}, None


def majority(labels: NDArray[np.integer], train: NDArray[np.integer]) -> float:
  """The accuracy of always saying the commonest class of training."""
  [(common, _)] = collections.Counter(train.tolist()).most_common(1)
  return float((labels == common).mean())
