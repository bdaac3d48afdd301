"""Labelled sentences by name: public files, pinned."""

from collections.abc import Mapping
from typing import NamedTuple

from unroll.data import cache
from unroll.data.cache import File, public
from unroll.data.conll import COLUMNS, CONLLU
from unroll.errors import guess
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


SETS: dict[str, Entry] = {
  "ud_english_ewt": Entry(
    files=(
      public("ud_english_ewt/en_ewt-ud-train.conllu"),
      public("ud_english_ewt/en_ewt-ud-dev.conllu"),
      public("ud_english_ewt/en_ewt-ud-test.conllu"),
    ),
    format=CONLLU,
    licence="CC BY-SA 4.0; the text of the English Web Treebank, LDC2012T13",
    note="Parts of speech of English from the web, Universal Dependencies 2.16: "
    "204,577, 25,147 and 25,094 words, 17 labels.",
  ),
  "wnut17": Entry(
    files=(
      public("wnut17/wnut17train.conll"),
      public("wnut17/emerging.dev.conll"),
      public("wnut17/emerging.test.annotated"),
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
    raise BadInput(
      f"sentences={name}: choose one of {', '.join(SETS)}, or give files with `train`"
      f"{guess(name, SETS)}"
    )
  files = zip(PARTS, SETS[name].files)
  return {part: (cache.read(file), file.path) for part, file in files}
