"""Words with labels as settings choose them: read, checked, converted, in batches."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from unroll.data import conll, lexicon, sentences, spans
from unroll.data.batches import ALL
from unroll.data.buckets import Buckets
from unroll.data.conll import Sentence
from unroll.data.lexicon import Lexicon
from unroll.data.sentences import PARTS
from unroll.settings import setting
from unroll.tagging import ROWS
from unroll.types import BadInput

KEPT = 10  # one sentence in so many validates, where no file does


@dataclass(frozen=True)
class Tagged:
  """Labelled words"""

  sentences: str = setting(
    "ud_english_ewt", f"sentences by their name: {', '.join(sentences.SETS)}"
  )
  train: str = setting(
    "",
    "a CoNLL-U file, or one of columns, to learn from instead of sentences",
    kind="path",
    role="data",
  )
  val: str = setting(
    "",
    f"such a file to validate on; empty: one in {KEPT} sentences of train",
    kind="path",
    role="data",
  )
  test: str = setting("", "such a file to test on", kind="path", role="data")
  word_column: int = setting(
    0, "the column of words, from 1; 0: FORM of CoNLL-U, else the first", least=0
  )
  label_column: str = setting(
    "", "the column of labels, a number or a name of CoNLL-U; empty: UPOS, or the last"
  )
  scheme: str = setting(
    "",
    "the scheme of the labels of the files; empty: recognised",
    choices=("", *spans.SCHEMES, spans.PLAIN),
  )
  learn: str = setting(
    "IOB2", "the scheme of spans that the model learns", choices=spans.TARGETS
  )
  lower: bool = setting(True, "words are known by their lower-case letters")
  digits: bool = setting(True, "words are known with 0 for every digit")
  width: int = setting(20, "characters of a word that are read", least=1, most=1000)
  buckets: int = setting(
    4, "lengths that sentences are padded to, a program each", least=1
  )


class Data(NamedTuple):
  """What there is to learn from.

  Attributes:
    settings: what chose it.
    lexicon: of the training part.
    parts: the sentences of "train", "val" and, where there is one, "test", in the
      scheme of the lexicon.
  """

  settings: Tagged
  lexicon: Lexicon
  parts: Mapping[str, list[Sentence]]

  def training(self, batch: int, seed: int, columns: slice = ALL) -> Buckets:
    """Batches of the training part in random order."""
    return self._batches("train", batch, seed=seed, columns=columns)

  def evaluation(self, part: str) -> Buckets:
    """Every sentence of a part, by length."""
    return self._batches(part, ROWS, shuffle=False)

  @property
  def sha256(self) -> str:
    """The digest of all that a model learns from."""
    return lexicon.digest(self.parts)

  def _batches(self, part: str, batch: int, **options) -> Buckets:
    own = self.parts[part]
    return Buckets(
      [len(sentence.words) for sentence in own],
      lexicon.batches(self.lexicon, own),
      batch,
      buckets=self.settings.buckets,
      digest=lexicon.digest({part: own}),
      **options,
    )


def load(
  settings: Tagged,
  known: Lexicon | None = None,
  warn: Callable[[str], object] = warnings.warn,
) -> Data:
  """Reads, checks and numbers the sentences that the settings name.

  Args:
    settings: which, and how.
    known: the lexicon of a run that is there; None makes one of the training part.
    warn: called with a sentence about labels that training has not.

  Raises:
    BadInput: a file is faulty, or the settings do not fit one another.
  """
  parts, scheme, format = _parts(settings)
  if known is None:
    upos = format == conll.CONLLU and settings.label_column.lower() in ("", "upos", "4")
    known = Lexicon.build(
      parts["train"],
      scheme=scheme,
      lower=settings.lower,
      digits=settings.digits,
      width=settings.width,
      format=conll.CONLLU if upos else conll.COLUMNS,
    )
  for part in parts:
    new = {label for s in parts[part] for label in s.labels} - set(known.labels)
    if new:
      warn(
        f"{part} has {', '.join(sorted(new))}, which training has not: each counts as "
        "an error"
      )
  return Data(settings, known, parts)


def _parts(settings: Tagged) -> tuple[dict[str, list[Sentence]], str, str]:
  """The sentences of each part in one scheme, the scheme, and the format."""
  files = _files(settings)
  format = conll.format_of(*files["train"])
  parts = {
    part: conll.read(
      data,
      where,
      format=format,
      word=settings.word_column,
      label=settings.label_column,
    )
    for part, (data, where) in files.items()
  }
  first = _scheme(settings, parts["train"], files["train"][1], "")
  target = spans.PLAIN if first == spans.PLAIN else settings.learn
  found = {}
  for part, own in parts.items():
    where = files[part][1]
    scheme = _scheme(settings, own, where, first)
    if (scheme == spans.PLAIN) != (first == spans.PLAIN):
      raise BadInput(
        f"{where} has labels of another kind than {files['train'][1]}: one of them "
        "marks spans; give files of one kind"
      )
    found[part] = [_converted(sentence, scheme, target) for sentence in own]
  if "val" not in found:
    found |= {"train": found["train"], "val": found["train"][KEPT - 1 :: KEPT]}
    del found["train"][KEPT - 1 :: KEPT]
  if not (found["train"] and found["val"]):
    raise BadInput(
      f"{files['train'][1]} has {len(parts['train'])} sentences, too few to keep one "
      f"in {KEPT} for validation: give `val`"
    )
  return found, target, format


def _files(settings: Tagged) -> Mapping[str, tuple[bytes, str]]:
  if not settings.train:
    if settings.val or settings.test:
      raise BadInput("`val` and `test` are files and `train` is none: give that too")
    return sentences.load(settings.sentences)
  found = {}
  for part in PARTS:
    if file := getattr(settings, part):
      try:
        found[part] = (Path(file).expanduser().read_bytes(), file)
      except OSError as error:
        raise BadInput(
          f"{part}={file} cannot be read ({error.strerror}): give a readable file"
        ) from None
  return found


def _scheme(settings: Tagged, own: list[Sentence], where: str, first: str) -> str:
  """The scheme of a file; of one without spans, that of the training part."""
  rows = [(sentence.labels, sentence.lines) for sentence in own]
  if settings.scheme:
    spans.check_scheme(rows, settings.scheme, where)
    return settings.scheme
  if first and {label for labels, _ in rows for label in labels} <= {spans.OUTSIDE}:
    return first
  return spans.scheme_of(rows, where)


def _converted(sentence: Sentence, scheme: str, target: str) -> Sentence:
  labels = spans.converted(sentence.labels, scheme, target)
  return sentence._replace(labels=tuple(labels))
