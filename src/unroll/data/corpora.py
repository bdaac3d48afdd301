"""The corpora that have a name, and the user's own files."""

import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from unroll.data import cache, embedded
from unroll.data import text as text_lib
from unroll.data.cache import File, public
from unroll.errors import guess
from unroll.types import BadInput

WHOLE = "all"  # the one text of a corpus that has no official split


class Corpus(NamedTuple):
  """A text, not yet normalised.

  Attributes:
    name: its name in the registry, or the path.
    texts: "train", "val" and "test" of the official split, or else "all".
    pretokenized: tokens stand between white space already: "word" would tokenise twice.
    digest: the sha256 of the texts.
    licence: the licence of the text, or what is known about it.
  """

  name: str
  texts: Mapping[str, str]
  pretokenized: bool
  digest: str
  licence: str


class Entry(NamedTuple):
  """A public corpus.

  Attributes:
    files: the official train, val and test file; or one file without official split.
    licence: the licence of the text, or what is known about it.
    pretokenized: as in `Corpus`.
    derive: what makes the text of this corpus from the text of a file.
    note: what one should know.
  """

  files: tuple[File, ...]
  licence: str
  pretokenized: bool = False
  derive: Callable[[str], str] = str
  note: str = ""


def _strip_lines(text: str) -> str:
  return "\n".join(line.strip() for line in text.split("\n"))


_PTB_LICENCE = (
  "unclear (Wall Street Journal, LDC99T42): for research, not to be passed on"
)
_PTB = (
  public("ptb/ptb.train.txt"),
  public("ptb/ptb.valid.txt"),
  public("ptb/ptb.test.txt"),
)

CORPORA: dict[str, Entry] = {
  "timemachine": Entry(
    files=(public("timemachine/timemachine.txt"),),
    licence="public domain",
    note="H. G. Wells, The Time Machine, as in Dive into Deep Learning.",
  ),
  "tinyshakespeare": Entry(
    files=(public("tinyshakespeare/input.txt"),),
    licence="public domain",
    note="The char-rnn corpus; the default split is nanoGPT's.",
  ),
  "ptb": Entry(
    files=_PTB,
    licence=_PTB_LICENCE,
    pretokenized=True,
    note="Penn Treebank, as Mikolov prepared it: 10,000 types with <unk> and <eos>.",
  ),
  "ptb_char": Entry(
    files=_PTB,
    licence=_PTB_LICENCE,
    derive=_strip_lines,
    note="The 50 characters of ptb: ptb.char.*.txt, with a space for its _.",
  ),
  "wikitext2": Entry(
    files=(
      public("wikitext2/wiki.train.tokens"),
      public("wikitext2/wiki.valid.tokens"),
      public("wikitext2/wiki.test.tokens"),
    ),
    licence="CC BY-SA 3.0",
    pretokenized=True,
    note="WikiText-2 (Merity et al., 2016): 33,278 types, <eos> included.",
  ),
  "sanguo": Entry(
    files=(public("unicode_text/sanguo.txt"),),
    licence="public domain",
    note="Romance of the Three Kingdoms, in Chinese: 4,743 characters, CRLF line ends.",
  ),
}


def load(name: str, tokenizer: str = "char") -> Corpus:
  """Loads a corpus by its name, or a text file by its path.

  Args:
    name: a name in `CORPORA` or `embedded.EMBEDDED`, or the path of a text file.
    tokenizer: what will read it: "byte" takes a file that is not UTF-8.

  Returns:
    The corpus, not yet normalised.

  Raises:
    BadInput: there is no such corpus or file, or it cannot be had or read.
  """
  if name in embedded.EMBEDDED:
    return _corpus(name, {WHOLE: embedded.EMBEDDED[name]()}, embedded.LICENCE)
  if name not in CORPORA:
    path = pathlib.Path(os.path.expanduser(name))
    if not os.path.lexists(path):
      raise BadInput(_no_such_corpus(name))
    texts = {WHOLE: text_lib.read_text(path, tokenizer)}
    return _corpus(name, texts, "the user's own")
  entry = CORPORA[name]
  names = (WHOLE,) if len(entry.files) == 1 else ("train", "val", "test")
  texts = {
    part: entry.derive(text_lib.decode_text(cache.read(file), file.path, tokenizer))
    for part, file in zip(names, entry.files)
  }
  return _corpus(name, texts, entry.licence, entry.pretokenized)


def _corpus(
  name: str, texts: Mapping[str, str], licence: str, pretokenized: bool = False
) -> Corpus:
  digest = hashlib.sha256()
  for text in texts.values():
    digest.update(text.encode("utf-8", "surrogateescape"))
  return Corpus(name, texts, pretokenized, digest.hexdigest(), licence)


def _no_such_corpus(name: str) -> str:
  names = sorted([*embedded.EMBEDDED, *CORPORA])
  return (
    f"corpus={name} is neither a file nor one of {', '.join(names)}{guess(name, names)}"
  )
