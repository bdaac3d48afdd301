"""Labelled sentences by name: public files, pinned."""

import difflib
from collections.abc import Mapping
from typing import NamedTuple

from unroll.data import cache
from unroll.data.cache import File
from unroll.data.conll import COLUMNS, CONLLU
from unroll.types import BadInput

PARTS = ("train", "val", "test")


class Entry(NamedTuple):
  """A public set of labelled sentences.

  Attributes:
    files: of training, validation and test.
    format: see `conll.read`.
    licence: of the labels and the text.
    note: what one should know.
  """

  files: tuple[File, File, File]
  format: str
  licence: str
  note: str


_GITHUB = "https://raw.githubusercontent.com"
_EWT = f"{_GITHUB}/UniversalDependencies/UD_English-EWT/r2.16"
_WNUT = (
  f"{_GITHUB}/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
)

SETS: dict[str, Entry] = {
  "ud_english_ewt": Entry(
    files=(
      File(
        path="ud_english_ewt/en_ewt-ud-train.conllu",
        url=f"{_EWT}/en_ewt-ud-train.conllu",
        sha256="3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
        size=14203025,
      ),
      File(
        path="ud_english_ewt/en_ewt-ud-dev.conllu",
        url=f"{_EWT}/en_ewt-ud-dev.conllu",
        sha256="531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
        size=1805545,
      ),
      File(
        path="ud_english_ewt/en_ewt-ud-test.conllu",
        url=f"{_EWT}/en_ewt-ud-test.conllu",
        sha256="e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
        size=1804515,
      ),
    ),
    format=CONLLU,
    licence="CC BY-SA 4.0; the text of the English Web Treebank, LDC2012T13",
    note="Parts of speech of English from the web, Universal Dependencies 2.16: "
    "204,577, 25,147 and 25,094 words, 17 labels.",
  ),
  "wnut17": Entry(
    files=(
      File(
        path="wnut17/wnut17train.conll",
        url=f"{_WNUT}/wnut17train.conll",
        sha256="731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
        size=493781,
      ),
      File(
        path="wnut17/emerging.dev.conll",
        url=f"{_WNUT}/emerging.dev.conll",
        sha256="e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
        size=114749,
      ),
      File(
        path="wnut17/emerging.test.annotated",
        url=f"{_WNUT}/emerging.test.annotated",
        sha256="2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
        size=192425,
      ),
    ),
    format=COLUMNS,
    licence="CC BY 4.0",
    note="New and rare names of six types in posts, the shared task of WNUT 2017: "
    "1,975, 836 and 1,079 spans; most test names are in no other part.",
  ),
}


def load(name: str) -> Mapping[str, tuple[bytes, str]]:
  """The files of a set, and what to call each, by part.

  Raises:
    BadInput: there is no such set, or it cannot be had.
  """
  if name not in SETS:
    close = difflib.get_close_matches(name, SETS, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise BadInput(
      f"sentences={name}: choose one of {', '.join(SETS)}, or give files with `train`"
      f"{hint}"
    )
  files = zip(PARTS, SETS[name].files)
  return {part: (cache.read(file), file.path) for part, file in files}
